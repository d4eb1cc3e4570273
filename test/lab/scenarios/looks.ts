import { effectPosterior } from '../../../server/statistics/bayesian-effect.ts'
import { ratePosteriors } from '../../../server/statistics/beta-binomial.ts'
import { groupSequentialBounds } from '../../../server/statistics/group-sequential.ts'
import { sequentialSampleSize } from '../../../server/statistics/power-sequential.ts'
import { welchTest } from '../../../server/statistics/reference/welch.ts'
import { confidenceSequence } from '../../../server/statistics/sequential.ts'
import { drawSums, type Random } from '../random.ts'
import { atLeast, atMost, covers, exactly, type Scenario, SHOWN } from '../scenario.ts'

export const LOOKS = 50
const PER_LOOK = 200
const TUNING = 5000

type Look = { difference: number; standardError: number; n: number; pValue: number }

/**
 * Simulates the cumulative looks at an experiment on an exponential metric with mean 1.
 * @param effect is added to each value of the treatment
 * @param perLook users per variant who arrive between two looks
 */
export function drawLooks(random: Random, effect: number, looks = LOOKS, perLook = PER_LOOK): Look[] {
  const control = { n: 0, sum: 0, sumSq: 0 }
  const treatment = { n: 0, sum: 0, sumSq: 0 }
  const add = (into: typeof control, shift: number) => {
    const more = drawSums(perLook, () => shift + random.exponential(1))
    into.n += more.n
    into.sum += more.sum
    into.sumSq += more.sumSq
  }
  return Array.from({ length: looks }, () => {
    add(control, 0)
    add(treatment, effect)
    const { test, difference } = welchTest(control, treatment, 0.95)
    if (!test || difference === null) throw new Error('The exponential metric has no variance')
    return { difference, standardError: test.standardError, n: control.n + treatment.n, pValue: test.pValue }
  })
}

export const sequence = (look: Look) => confidenceSequence(look, 0.95, TUNING)

const EFFECT = 0.06
const size = sequentialSampleSize(1, EFFECT, { confidenceLevel: 0.95, power: 0.8, ratio: 1 }, TUNING)
const PLANNED_LOOKS = Math.ceil(size.sequential / 2 / PER_LOOK)

/** An experiment that is analysed after every 200 users per variant, for which always-valid methods are made. */
export const peeking: Scenario<'alarm' | 'naive' | 'coverage' | 'found'> = {
  title: 'Fifty looks',
  note: `${LOOKS} looks, ${PER_LOOK} users per variant between two of them, an exponential metric. Power: an effect of ${EFFECT} with the ${Math.round(size.sequential)} users in all that are planned for it.`,
  cost: 10,
  figures: {
    alarm: { method: 'Confidence sequence', what: 'false positives', expected: atMost(0.05) },
    coverage: { method: 'Confidence sequence, at all looks', what: 'coverage', expected: atLeast(0.95) },
    found: { method: 'Confidence sequence', what: 'power', expected: atLeast(0.8) },
    naive: { method: "Welch's test, stopped when significant", what: 'false positives', expected: SHOWN },
  },
  once: (random) => {
    const same = drawLooks(random, 0)
    const changed = drawLooks(random, EFFECT, PLANNED_LOOKS)
    return {
      alarm: same.some((look) => sequence(look).pValue <= 0.05),
      naive: same.some(({ pValue }) => pValue < 0.05),
      coverage: changed.every((look) => covers(sequence(look).interval, EFFECT)),
      found: changed.some((look) => sequence(look).pValue <= 0.05),
    }
  },
}

const FRACTIONS = [0.25, 0.5, 0.75, 1]
const bounds = {
  obrien_fleming: groupSequentialBounds(FRACTIONS, 0.95, 'obrien_fleming').zBounds,
  pocock: groupSequentialBounds(FRACTIONS, 0.95, 'pocock').zBounds,
}
/** Group-sequential tests with four planned looks. */
export const plannedLooks: Scenario<'obrienFleming' | 'pocock'> = {
  title: 'Four planned looks',
  note: 'At a quarter, a half, three quarters and all of 2,000 users per variant.',
  cost: 4,
  figures: {
    obrienFleming: {
      method: 'Group sequential, O’Brien-Fleming',
      what: 'false positives',
      expected: exactly(0.05, 0.006),
    },
    pocock: { method: 'Group sequential, Pocock', what: 'false positives', expected: exactly(0.05, 0.006) },
  },
  once: (random) => {
    const looks = drawLooks(random, 0, 4, 500)
    const crosses = (limits: readonly number[]) =>
      looks.some(
        ({ difference, standardError }, look) => Math.abs(difference / standardError) >= (limits[look] as number),
      )
    return { obrienFleming: crosses(bounds.obrien_fleming), pocock: crosses(bounds.pocock) }
  },
}

const PRIOR = { mean: 0, variance: 0.1 ** 2 }
/** Bayesian figures for effects that are drawn from the prior, so that stated probabilities must equal frequencies. */
export const posteriors: Scenario<'credible' | 'right' | 'flat' | 'rates' | 'chosen'> = {
  title: 'Bayesian thresholds',
  note: 'Effects are drawn from the prior, normal(0, 0.1²), with standard errors from 0.02 to 0.2. Conversion rates are drawn from Beta(1, 1), with 300 users per variant.',
  cost: 10,
  figures: {
    credible: { method: 'Credible interval of an effect', what: 'coverage', expected: exactly(0.95) },
    right: { method: 'Called better with 95 % or more', what: 'coverage', expected: atLeast(0.95) },
    flat: { method: 'Flat prior: outside 2.5 to 97.5 %', what: 'false positives', expected: exactly(0.05) },
    rates: { method: 'Credible interval of a rate', what: 'coverage', expected: exactly(0.95, 0.003) },
    chosen: { method: 'Probability to be better, of rates, minus the truth', what: 'error rate', expected: exactly(0) },
  },
  once: (random) => {
    const effect = 0.1 * random.normal()
    const standardError = 0.02 + 0.18 * random.uniform()
    const posterior = effectPosterior(effect + standardError * random.normal(), standardError, PRIOR, 0.95)
    const nothing = effectPosterior(standardError * random.normal(), standardError, null, 0.95)
    const [one, other] = [random.uniform(), random.uniform()]
    const rates = ratePosteriors(random.conversions(300, one), random.conversions(300, other), 0.95)
    return {
      credible: covers(posterior.interval, effect),
      right: posterior.probabilityBetter >= 0.95 ? effect > 0 : null,
      flat: nothing.probabilityBetter < 0.025 || nothing.probabilityBetter > 0.975,
      rates: covers(rates.treatment.interval, other),
      chosen: rates.probabilityTreatmentBetter - Number(other > one),
    }
  },
}
