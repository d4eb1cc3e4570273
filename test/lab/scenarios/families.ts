import { benjaminiHochberg, holm } from '../../../server/statistics/multiple-comparisons.ts'
import { welchTest } from '../../../server/statistics/reference/welch.ts'
import { sampleRatio, sequentialSampleRatio } from '../../../server/statistics/sample-ratio.ts'
import { drawSums, type Random } from '../random.ts'
import { atMost, exactly, type Scenario, SHOWN } from '../scenario.ts'

const USERS = 400
const pValueOf = (random: Random, control: ReturnType<typeof drawSums>, effect: number) =>
  welchTest(
    control,
    drawSums(USERS, () => effect + random.normal()),
    0.95,
  ).test?.pValue ?? null

/** Corrections for multiple comparisons: three treatments and four metrics make twelve comparisons. */
export const families: Scenario<'raw' | 'holm' | 'discovery' | 'half'> = {
  title: 'Several variants and metrics',
  note: 'Three treatments are compared with one control in four metrics. None of the twelve comparisons has an effect, or half of them have one.',
  cost: 10,
  figures: {
    holm: { method: 'Holm, any of twelve', what: 'false positives', expected: atMost(0.05) },
    half: { method: 'Holm, half of them real', what: 'false positives', expected: atMost(0.05) },
    discovery: { method: 'Benjamini-Hochberg, false share of the alarms', what: 'error rate', expected: atMost(0.05) },
    raw: { method: 'Without a correction, any of twelve', what: 'false positives', expected: SHOWN },
  },
  once: (random) => {
    const family = (effects: (index: number) => number) => {
      const controls = Array.from({ length: 4 }, () => drawSums(USERS, random.normal))
      return Array.from({ length: 12 }, (_, index) =>
        pValueOf(random, controls[index % 4] as (typeof controls)[0], effects(index)),
      )
    }
    const none = family(() => 0)
    const half = family((index) => (index < 6 ? 0.3 : 0))
    const isAny = (pValues: readonly (number | null)[]) => pValues.some((p) => p !== null && p < 0.05)
    const found = [...benjaminiHochberg(half).entries()].filter(([, p]) => p !== null && p < 0.05)
    return {
      raw: isAny(none),
      holm: isAny(holm(none)),
      half: isAny(holm(half).slice(6)),
      discovery: found.length === 0 ? 0 : found.filter(([index]) => index >= 6).length / found.length,
    }
  },
}

/**
 * Sample-ratio checks at 90/10, where one user in twenty has two ids. The threshold is wider than the platform's 0.001,
 * so that enough errors happen to be counted.
 */
export const sampleRatios: Scenario<'assigned' | 'excluded' | 'sequential' | 'dropped'> = {
  title: 'Sample ratios',
  note: '20,000 users at 90/10; 5 % of them return under a second id and may draw the other variant. The threshold is 0.01. Power: at 50/50, a client loses 5 % of one variant.',
  cost: 10,
  figures: {
    assigned: { method: 'Chi-square of first assignments', what: 'false positives', expected: exactly(0.01, 0.001) },
    sequential: { method: 'Sequential test, 20 looks', what: 'false positives', expected: atMost(0.01) },
    dropped: { method: 'Sequential test, 5 % of a variant lost', what: 'power', expected: SHOWN },
    excluded: { method: 'Chi-square after crossovers are excluded', what: 'false positives', expected: SHOWN },
  },
  once: (random) => {
    const first = [0, 0]
    const kept = [0, 0]
    const looks: number[][] = []
    for (let user = 0; user < 20_000; user++) {
      const variant = random.chance(0.1) ? 1 : 0
      first[variant] = (first[variant] as number) + 1
      if (!random.chance(0.05) || (random.chance(0.1) ? 1 : 0) === variant)
        kept[variant] = (kept[variant] as number) + 1
      if (user % 1000 === 999) looks.push([...first])
    }
    const lost = [0, 0]
    const lostLooks = Array.from({ length: 20 }, () => {
      for (let user = 0; user < 1000; user++) {
        const variant = random.chance(0.5) ? 1 : 0
        if (variant === 0 || !random.chance(0.05)) lost[variant] = (lost[variant] as number) + 1
      }
      return [...lost]
    })
    return {
      assigned: sampleRatio(first, [90, 10]).pValue < 0.01,
      excluded: sampleRatio(kept, [90, 10]).pValue < 0.01,
      sequential: (sequentialSampleRatio(looks, [90, 10]).runningPValues.at(-1) ?? 1) <= 0.01,
      dropped: (sequentialSampleRatio(lostLooks, [50, 50]).runningPValues.at(-1) ?? 1) <= 0.01,
    }
  },
}
