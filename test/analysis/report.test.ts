import { globSync, readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { answer } from '../../server/analysis/answer.ts'
import type { Outcome } from '../../server/analysis/decide.ts'
import { byExclusion } from '../../server/analysis/exclusions.ts'
import { line } from '../../server/analysis/markdown.ts'
import { recordable, withRecords } from '../../server/analysis/record.ts'
import { markdownReport } from '../../server/analysis/report.ts'
import { csvReport } from '../../server/analysis/report-csv.ts'
import { formatDeciding, formatThreshold } from '../../server/analysis/report-words.ts'
import { snakeCased } from '../../server/analysis/snake-case.ts'
import type { RunStatistics } from '../../server/analysis/statistics.ts'
import { NO_TOTALS } from '../../server/analysis/sums.ts'
import { codeOf, readDocument } from '../support/documents.ts'
import { exampleAnswer } from './example.ts'
import { proportion, run, units } from './run-statistics.ts'

const reportOf = (...given: Parameters<typeof run>) => markdownReport(snakeCased(answer(run(...given))))
const csvOf = (...given: Parameters<typeof run>) => csvReport(snakeCased(answer(run(...given))))
const named = (name: string, given: Parameters<typeof run>[0] = {}) => {
  const { variants, ...rest } = run(given)
  return { ...rest, variants: variants.map((one) => (one.isControl ? one : { ...one, variantName: name })) }
}

/** Reads CSV as RFC 4180 defines it. */
function parseCsv(text: string): string[][] {
  const rows: string[][] = [[]]
  for (const [, quoted, plain, end] of text.matchAll(/(?:"((?:[^"]|"")*)"|([^",\r\n]*))(,|\r\n|$)/g)) {
    rows.at(-1)?.push(quoted?.replaceAll('""', '"') ?? plain ?? '')
    if (end === '\r\n') rows.push([])
    if (end === '') break
  }
  return rows.slice(0, -1)
}
const recordsOf = (text: string): Record<string, string>[] => {
  const [header = [], ...rows] = parseCsv(text)
  return rows.map((row) => Object.fromEntries(header.map((name, index) => [name, row[index] ?? ''])))
}

const better = [proportion('orders', { 1: 100, 2: 180 })]

describe('a report in Markdown', () => {
  test.each([
    ['**Ship treatment.**', { metrics: better }],
    ['**Stop: treatment does harm.**', { metrics: [proportion('orders', { 1: 180, 2: 100 })] }],
    ['**Keep going: nothing is decided yet.**', {}],
    ['**Do not decide by this run: its data cannot be trusted.**', { units: [units(1, { users: 24_000 }), units(2)] }],
    [
      '**No difference worth finding between treatment and the control: choose by cost or taste.**',
      { hasEnded: true, question: { plannedEffect: 0.9 } },
    ],
    [
      '**Not decided: the run does not tell whether treatment is better or worse.**',
      { hasEnded: true, question: { plannedEffect: 0.01 } },
    ],
  ])('says first what to do: %s', (sentence, given) => {
    expect(reportOf(given).split('\n')[4]).toBe(sentence)
  })

  test('says when a decision was reached, and that it stands', () => {
    const decisions = [
      {
        variantId: 2,
        outcome: 'ship' as const,
        at: '2026-01-08T09:12:30.000Z',
        users: 82_873,
        reasons: ['Orders rose.'],
      },
    ]
    const report = reportOf({ decisions })
    expect(report).toContain('**Ship treatment.**')
    expect(report).toContain('- Orders rose. That was at 82,873 users.\n')
    expect(report).toContain('- Decided on 2026-01-08 09:12 UTC, with 82,873 users. The decision stands.\n')
  })

  test('says of a draft that there is nothing to decide yet', () => {
    expect(reportOf({ run: null, units: [] })).toContain('**Not started: there is nothing to decide yet.**')
  })

  test('says a reason once, and names the next planned look only while a treatment goes on', () => {
    const reason = 'orders is 80 % higher in treatment'
    expect(reportOf({ metrics: better }).split(reason).length).toBe(2)
    const planned = { method: 'group_sequential', plannedUsers: 1_000_000 } as const
    expect(reportOf({ question: planned })).toMatch(/- The next planned look is at [\d,]+ users\./)
    const decisions = [
      {
        variantId: 2,
        outcome: 'ship' as const,
        at: '2026-01-08T09:12:30.000Z',
        users: 20_000,
        reasons: ['Orders rose.'],
      },
    ]
    expect(reportOf({ question: planned, decisions })).not.toContain('next planned look')
  })

  test('gives the figure that decides and its threshold, by the method', () => {
    const planned = { plannedUsers: 2000 }
    expect(reportOf({ metrics: better })).toContain('the always-valid p-value is < 0.0001, and decides below 0.05.')
    expect(reportOf({ metrics: better, question: { ...planned, method: 'fixed' } })).toContain(
      'the p-value is < 0.0001, and decides below 0.05.',
    )
    expect(reportOf({ metrics: better, question: { ...planned, method: 'bayesian' } })).toContain(
      'the chance to be better is > 99.9 %, and decides above 97.5 %.',
    )
  })

  test('says that there is no p-value yet, and why, instead of one of 1', () => {
    const few = {
      units: [units(1, { users: 1800 }), units(2, { users: 200 })],
      periods: [{ period: 1, shares: { 1: 90, 2: 10 } }],
      metrics: [proportion('orders', { 1: 18, 2: 0 })],
    }
    const [orders] = answer(run(few)).metrics
    expect(orders?.comparisons[0]).toMatchObject({ alwaysValid: { pValue: null }, decidedBy: null })
    const report = reportOf(few)
    expect(report).toContain(
      '- orders in treatment: there is no always-valid p-value yet: too few events in treatment (0 seen; 1.8 expected if the variants do not differ, of 10 needed).\n',
    )
    expect(report).toContain('| - | - | cannot be judged |')
    for (const word of ['1.00 |', 'decides below']) expect(report).not.toContain(word)
  })

  test('gives the interval of the look that decided, and the figures of now in a row of their own', () => {
    const at = (users: number, orders: number, given: Parameters<typeof run>[0] = {}) =>
      run({
        units: [units(1, { users }), units(2, { users })],
        metrics: [proportion('orders', { 1: users / 10, 2: orders })],
        question: { method: 'group_sequential', plannedUsers: 30_000, plannedLooks: 5 },
        ...given,
      })
    const row = (statistics: RunStatistics) =>
      markdownReport(snakeCased(answer(statistics)))
        .split('\n')
        .filter((text) => text.startsWith('| orders |'))
    const first = at(3150, 346)
    const waiting = row(at(1000, 110))
    expect(waiting).toHaveLength(1)
    expect(waiting[0]).toMatch(/\| now \| 10\.00 % \| 11\.00 % .* \(one look\) \| - \| - \| not read yet \|$/)
    expect(row(first)).toHaveLength(1)
    expect(row(first)[0]).toContain('| look at 6,300 users | 10.00 % | 10.98 % | +0.98 percentage points | +10 % |')
    expect(row(first)[0]).toContain('-23 % to +56 % (all looks) | 0.20 | below 0.000002 | undecided |')
    const { looks } = withRecords(first, recordable(first, '2026-01-05T00:00:00.000Z'))
    const second = at(12_450, 1370, { looks })
    const records = withRecords(second, recordable(second, '2026-01-06T00:00:00.000Z'))
    const later = { ...at(15_000, 1650), looks: records.looks, decisions: records.decisions }
    expect(row(later)[0]).toContain('| look at 24,900 users | - | - | +1.00 percentage points | +10 % | +1 % to +19 %')
    expect(row(later)[1]).toMatch(/\| now \| 10\.00 % \| 11\.00 % .* \(one look\) \| - \| - \| {2}\|$/)
    const sent = answer(later)
    expect(sent.decision).toMatchObject({ outcome: 'ship', daysLeft: null, nextLookAtUsers: null })
    expect(sent.metrics[0]?.comparisons[0]?.look).toMatchObject({ at: '2026-01-06T00:00:00.000Z', users: 24_900 })
    const report = markdownReport(snakeCased(sent))
    expect(report).toContain('The verdicts rest on the look at 24,900 users')
    expect(report).toContain('at the look at 24,900 users, the data agree with a true uplift of +1 % to +19 %.')
    expect(report).not.toContain('30,000 users, whose')
    expect(answer(second).warnings.join()).not.toContain('The verdicts rest on')
  })

  test('names every look whose figures decide, where comparisons are judged at several', () => {
    const at = (users: number, looks: RunStatistics['looks']) =>
      run({
        units: [units(1, { users }), units(2, { users })],
        metrics: [
          proportion('orders', { 1: users / 10, 2: users / 5 + (users % 1000) / 100 }),
          proportion('refunds', { 1: users / 50, 2: users / 40 }, { role: 'guardrail', direction: 'decrease' }),
        ],
        question: { method: 'group_sequential', plannedUsers: 8000, plannedLooks: 4 },
        looks,
      })
    const first = at(1000, [])
    const { looks } = withRecords(first, recordable(first, '2026-01-05T00:00:00.000Z'))
    const second = at(2000, looks)
    const later = withRecords(second, recordable(second, '2026-01-06T00:00:00.000Z')).looks
    expect(answer(at(2200, later)).warnings).toContain(
      'The verdicts rest on the looks at 2,000 and 4,000 users, whose figures the reasons give. The figures of now do not decide.',
    )
  })

  test('gives the counts of a sample ratio that deviates, and the variant that lost users, in all places', () => {
    const lost = [units(1, { users: 2267 }), units(2, { users: 2010, assigned: 2233, drawn: 2233, drawnExposed: 2010 })]
    const counts = '2,267 in control (2,139 expected), 2,010 in treatment (2,139 expected)'
    const live = reportOf({ units: lost })
    expect(live).toContain(`- The exposed users deviate from the allocation: ${counts}. For a single look`)
    expect(live).toContain(
      `the exposed users deviate from the allocation (p < 0.0001, sequential p = 0.0076): ${counts};`,
    )
    expect(live).not.toContain('exposed users as allocated')
    const ended = reportOf({ units: lost, hasEnded: true })
    expect(ended).toContain(
      `- Sample ratio mismatch of the exposed users: ${counts}; p < 0.0001.\n- treatment lacks the most exposed users.\n`,
    )
    expect(ended).toContain('2,267 of 2,267 in control and 2,010 of 2,233 in treatment')
    expect(ended).toContain('- Assigned here: 4,500 users, of whom 4,277 have met their variant.\n')
    const few = [units(1, { users: 1 }), units(2, { users: 19 })]
    const rare = reportOf({ units: few, metrics: [], periods: [{ period: 1, shares: { 1: 90, 2: 10 } }] })
    expect(rare).not.toContain('users deviate')
  })

  test('leaves a treatment that was switched off out of what decides', () => {
    const { variants } = run()
    const off = { variantId: 3, variantName: 'off', isControl: false, enabled: false }
    const report = reportOf({
      variants: [...variants, off],
      units: [units(1), units(2), units(3)],
      metrics: [proportion('orders', { 1: 100, 2: 100, 3: 100 })],
      periods: [{ period: 1, shares: { 1: 34, 2: 33, 3: 33 } }],
    })
    expect(report).not.toContain('orders in off')
    expect(report).toMatch(/\| orders \| off \| .* \| switched off \|/)
  })

  test('names the users whose windows are not over', () => {
    const open = { metrics: [proportion('revisit', {}, { observed: [], immature: { 1: 500, 2: 500 } })] }
    const reason = 'the windows of all users in control (500) and treatment (500) are not over yet'
    expect(answer(run(open)).metrics[0]?.comparisons[0]?.reason).toBe(reason)
    expect(reportOf(open)).toContain(`- revisit cannot be judged in treatment: ${reason}.\n`)
    expect(reportOf(open)).not.toContain('has no users yet')
    const guardrail = { role: 'guardrail' as const, observed: [], immature: { 1: 500, 2: 500 } }
    const { decision } = answer(run({ metrics: [...better, proportion('revisit', {}, guardrail)] }))
    expect(decision.reasons).toContain(`revisit is not shown to be within its margin of 5 % in treatment: ${reason}.`)
  })

  test('says of an inconclusive reading that it decided nothing, and gives no interval where nothing varies', () => {
    const ended = run({
      hasEnded: true,
      metrics: [proportion('orders', { 1: 1000, 2: 1000 })],
      question: { method: 'bayesian', plannedUsers: 2000, plannedEffect: 0.05 },
    })
    const read = withRecords(ended, recordable(ended, '2026-01-08T09:12:30.000Z'))
    const report = markdownReport(snakeCased(answer(read)))
    expect(report).toContain('- Read on 2026-01-08 09:12 UTC, with 2,000 users, without a decision.\n')
    for (const word of ['The decision stands', 'the data agree', 'not read yet']) expect(report).not.toContain(word)
  })

  test('rounds the figures of a row to the same place, and both bounds of an interval alike', () => {
    const given = {
      variants: [...run().variants, { variantId: 3, variantName: 'c', isControl: false, enabled: true }],
      units: [units(1, { users: 903 }), units(2, { users: 434 }), units(3, { users: 163 })],
      periods: [{ period: 1, shares: { 1: 60, 2: 30, 3: 10 } }],
      metrics: [proportion('orders', { 1: 185, 2: 83, 3: 36 })],
      hasEnded: true,
    }
    const report = reportOf(given)
    expect(report).toContain('| orders | treatment | 20.49 % | 19.12 % | -1.36 percentage points |')
    expect(report).toContain('| orders | c | 20.49 % | 22.09 % | +1.60 percentage points |')
    expect(report).toContain('whether treatment and c are better or worse')
    expect(line('3.64 % of the users')).toBe('3.64 % of the users')
    expect(line('3. of the users')).toBe('3\\. of the users')
  })

  test('separates thousands, and names a method as people do', () => {
    const external = units(2, { users: 3000, externallyDecided: 3000 })
    const { warnings } = answer(
      run({
        units: [units(1, { users: 3000 }), external],
        question: { method: 'group_sequential', departs: ['method', 'crossovers'], crossovers: 'first' },
      }),
    )
    expect(warnings[0]).toContain('(by a group sequential analysis, crossovers under the first variant)')
    expect(warnings.join()).toContain('The variants of 3,000 users were decided by the application')
  })

  test.each([
    [{ value: 0.2, threshold: 2.005e-6 }, '0.20', 'below 0.000002'],
    [{ value: 4e-5, threshold: 2.005e-6 }, '0.000040', 'below 0.000002'],
    [{ value: 2.001e-6, threshold: 2.3e-6 }, '0.0000020', 'below 0.0000023'],
    [{ value: 1e-20, threshold: 2.3e-6 }, '< 0.000000000001', 'below 0.000002'],
    [{ value: 0.03, threshold: 0.0125 }, '0.0300', 'below 0.0125'],
  ])('writes %o in decimal notation', (figures, value, threshold) => {
    const decidedBy = { figure: 'p_value', ...figures } as const
    expect([formatDeciding(decidedBy), formatThreshold(decidedBy)]).toEqual([value, threshold])
  })

  test('tells effects that remain possible, but not from data that cannot be trusted', () => {
    expect(reportOf()).toMatch(/- orders in treatment: the data agree with a true uplift of -\d+ % to \+\d+ %\./)
    const blocked = reportOf({ units: [units(1, { users: 24_000 }), units(2)] })
    expect(blocked).toContain('The figures below are biased: do not decide by them.')
    expect(blocked).not.toContain('agree with a true uplift')
    expect(blocked).toContain('MISMATCH of the assigned users')
  })

  test('tells who is left out, and who is counted under the first variant', () => {
    const some = units(2, { crossovers: 7, excluded: { ...byExclusion(() => 0), hand: 1234, crossover: 7 } })
    expect(reportOf({ units: [units(1), some] })).toContain(
      '- Left out: 7 who met two variants, 1,234 excluded by hand.',
    )
    const counted = reportOf({ units: [units(1), units(2, { crossovers: 7 })], question: { crossovers: 'first' } })
    expect(counted).toContain('- No user is left out.\n- 7 users met two variants, and count under the first.')
  })

  test('cannot be changed in its layout by names', () => {
    const rows = (report: string) => report.split('\n').map((row) => row.replace(/\\./g, '').split('|').length)
    const plain = rows(reportOf({ ...named('b'), metrics: [...better, proportion('refunds', { 1: 10, 2: 9 })] }))
    fc.assert(
      fc.property(fc.string({ unit: 'binary', maxLength: 30 }), (text) => {
        const name = `a${text}b`
        const metrics = [proportion('orders', { 1: 100, 2: 180 }, { name }), proportion('refunds', { 1: 10, 2: 9 })]
        expect(rows(reportOf({ ...named(name), metrics, experiment: { id: 1, name } }))).toEqual(plain)
      }),
      { numRuns: 12 },
    )
    const report = reportOf({ ...named('# _a_ <b>*x*</b>\n1. [y](z)'), experiment: { id: 1, name: '- `x` | y' } })
    expect(report).toContain('# \\- \\`x\\` \\| y: results')
    expect(report).toContain('| # \\_a\\_ \\<b>\\*x\\*\\</b> 1. \\[y\\](z) |')
  })
})

/** A guardrail whose events are bad: it may be 5 % worse. */
const refund = (converted: Record<number, number>) =>
  proportion('refund', converted, { role: 'guardrail', direction: 'decrease' })
const pair = (users: number) => [units(1, { users }), units(2, { users })]
/** A control, blue and green, with equal shares. */
const three = (users: number, isGreenOn = true) => ({
  variants: [
    ...named('blue').variants,
    { variantId: 3, variantName: 'green', isControl: false, enabled: isGreenOn },
  ] satisfies RunStatistics['variants'],
  units: [...pair(users), units(3, { users })],
  periods: [{ period: 1, shares: { 1: 1, 2: 1, 3: 1 } }],
})
const headlineOf = (...given: Parameters<typeof run>) => reportOf(...given).split('\n')[4]

describe('the bold sentence of a report', () => {
  const held = { metrics: [proportion('orders', { 1: 2000, 2: 2400 }), refund({ 1: 100, 2: 101 })] }
  const question = { plannedUsers: 40_000, plannedEffect: 0.05 }
  const open = 'the guardrail refund is open (not shown to be within its margin)'

  test('names the gain and the guardrail that holds it back, during the run and after it', () => {
    const found = `treatment is better in orders, but ${open}`
    const ended = { ...held, units: pair(20_000), hasEnded: true, question }
    expect(headlineOf(ended)).toBe(`**Not decided: ${found}.**`)
    expect(headlineOf({ ...ended, hasEnded: false, question: {} })).toBe(`**Keep going: ${found}.**`)
    const metrics = [proportion('orders', { 1: 2000, 2: 2400, 3: 2050 }), refund({ 1: 100, 2: 101, 3: 100 })]
    expect(headlineOf({ ...ended, ...three(20_000), metrics })).toBe(
      `**Not decided: blue is better in orders, but ${open}; the run does not tell whether green is better or worse.**`,
    )
  })

  test('keeps the control where nothing differs but a guardrail is open', () => {
    const given = (refunds: Record<number, number>) => ({
      ...three(200_000),
      metrics: [proportion('orders', { 1: 20_000, 2: 20_100, 3: 20_100 }), refund(refunds)],
      question: { plannedUsers: 600_000, plannedEffect: 0.05 },
    })
    const none = '**No difference worth finding between blue and green and the control'
    const inBlue = 'the guardrail refund is open (not shown to be within its margin) in blue'
    const keep = 'keep the control there, unless you accept that.'
    expect(headlineOf(given({ 1: 20_000, 2: 20_650, 3: 20_000 }))).toBe(
      `${none}, but ${inBlue}: ${keep} Choose among the others by cost or taste.**`,
    )
    expect(headlineOf(given({ 1: 20_000, 2: 20_650, 3: 20_650 }))).toBe(
      `${none}, but ${inBlue} and ${inBlue.replace('blue', 'green')}: ${keep}**`,
    )
    expect(headlineOf(given({ 1: 20_000, 2: 20_000, 3: 20_000 }))).toBe(`${none}: choose by cost or taste.**`)
    // A guardrail without any event speaks for no variant.
    expect(headlineOf(given({}))).toBe(`${none}: choose by cost or taste.**`)
  })

  test.each([
    [{}, 'no difference between the variants is found so far, as it should be. Keep going.'],
    [
      { hasEnded: true, question: { plannedEffect: 0.9 } },
      'no difference between the variants is found, as it should be.',
    ],
    [{ hasEnded: true, units: pair(20), metrics: [] }, 'too little is known to compare the variants.'],
  ])('tells no one to ship, to stop or to choose by an A/A test: %o', (given, sentence) => {
    expect(headlineOf({ mode: 'aa', ...given })).toBe(`**This is an A/A test: ${sentence}**`)
  })

  test('sends the reader of an A/A test that finds a difference to look for the fault', () => {
    const sentence =
      '**This is an A/A test, but the variants differ (orders in treatment): look for the fault, and ship nothing.**'
    for (const hasEnded of [false, true])
      for (const orders of [better, [proportion('orders', { 1: 180, 2: 100 })]])
        expect(headlineOf({ mode: 'aa', hasEnded, metrics: orders })).toBe(sentence)
    expect(answer(run({ mode: 'aa' })).mode).toBe('aa')
  })

  test('does not tell to decide by another question than the planned one', () => {
    const of = (given: Parameters<typeof run>[0]) => ({
      ...given,
      question: { ...given?.question, departs: ['segment' as const] },
    })
    const by = '**By this question, which is not the planned one,'
    const ended = { hasEnded: true, question: { plannedEffect: 0.9 } }
    const worse = [proportion('orders', { 1: 180, 2: 100 })]
    expect(headlineOf(of({ metrics: better }))).toBe(`${by} treatment is better: do not decide by it.**`)
    expect(headlineOf(of({ metrics: worse }))).toBe(`${by} treatment does harm: do not decide by it.**`)
    expect(headlineOf(of(ended))).toBe(
      `${by} treatment and the control do not differ by an effect worth finding: do not decide by it.**`,
    )
    for (const given of [{}, { hasEnded: true }]) expect(headlineOf(of(given))).toBe(`${by} nothing is decided.**`)
    const several = of({ ...three(1000), metrics: [proportion('orders', { 1: 100, 2: 180, 3: 100 })] })
    expect(reportOf(several)).toContain('- blue: better by this question.')
    expect(reportOf(several)).not.toMatch(/ship/i)
    // An answer that an older version stored says so in its warning only.
    const { departs, ...older } = snakeCased(answer(run(of({ metrics: better }))))
    expect(departs).toEqual(['segment'])
    expect(markdownReport(older)).toContain(`${by} treatment is better`)
  })
})

describe('the certainty that a report tells', () => {
  test('names a guardrail that is significantly worse, also inside its margin', () => {
    const given = (worse: number) => ({
      units: pair(200_000),
      metrics: [proportion('orders', { 1: 20_000, 2: 22_400 }), refund({ 1: 20_000, 2: worse })],
      question: { method: 'fixed' as const, plannedUsers: 400_000 },
    })
    const report = reportOf(given(20_500))
    expect(report).toContain('- refund in treatment: passed (significantly worse, by less than 5 %).\n')
    expect(report).toMatch(/\| refund \| treatment \| .* \| passed, but worse \|/)
    expect(reportOf(given(20_000))).toContain('- refund in treatment: passed (worse by less than 5 %, if at all).\n')
  })

  test('gives the users at whose figures a sequential run was decided, and calls those of now so', () => {
    const reason = 'orders is 64 % higher in treatment (95 % interval +25 % to +114 %): significantly better.'
    const report = reportOf({
      units: pair(1400),
      metrics: [proportion('orders', { 1: 140, 2: 238 })],
      decisions: [{ variantId: 2, outcome: 'ship', at: '2026-01-08T09:12:30.000Z', users: 2552, reasons: [reason] }],
    })
    expect(report).toContain(`- ${reason} That was at 2,552 users.\n`)
    expect(report).toContain('- orders in treatment: now, the data agree with a true uplift of +26 % to +131 %.\n')
    expect(report).toContain('| orders | treatment | now | 10.00 % | 17.00 % |')
  })

  test('gives the figures of secondary metrics where there are no others, and says that they decide nothing', () => {
    const report = reportOf({
      units: pair(20_000),
      metrics: [proportion('visits', { 1: 2000, 2: 2600 }, { role: 'secondary' })],
    })
    expect(report.split('\n')[4]).toBe('**Nothing can be decided: secondary metrics decide nothing.**')
    expect(report).toContain(
      '## How sure\n\n- visits is 30 % higher in treatment (95 % interval +19 % to +42 %).\n- Secondary metrics decide nothing',
    )
  })

  test('promises a p-value or a proof for later only where more users can bring it', () => {
    const constant = { metrics: [proportion('orders', { 1: 0, 2: 0 })] }
    expect(reportOf(constant)).toContain('there is no always-valid p-value: its values do not vary')
    const few = { metrics: [proportion('orders', { 1: 2, 2: 2 }), refund({ 1: 100, 2: 101 })] }
    for (const [state, yet] of [
      ['live', ' yet'],
      ['settling', ''],
      ['frozen', ''],
    ] as const) {
      const report = reportOf({ ...few, state })
      expect(report).toContain(`there is no always-valid p-value${yet}: too few events`)
      expect(report).toContain(`open (not shown to be worse by less than 5 %${yet}`)
    }
  })

  test('says that a Bayesian analysis is read at its planned looks', () => {
    expect(reportOf({ question: { method: 'bayesian', plannedUsers: 2000, plannedLooks: 3 } })).toContain(
      '- Bayesian: decided by the probability to be better, at the planned looks;',
    )
  })
})

test('the users who met their variant are told of the variants that are not switched off', () => {
  const given = { ...three(100, false), metrics: [proportion('orders', { 1: 20, 2: 20, 3: 20 })] }
  expect(reportOf(given)).not.toContain('Assigned here')
  const lost = { ...given, units: [units(1, { users: 100 }), units(2, { users: 98, drawn: 100 }), units(3)] }
  expect(reportOf(lost)).toContain(
    '- Assigned here, to variants that are not switched off: 200 users, of whom 198 have met their variant.\n',
  )
})

describe('a report as CSV', () => {
  test('has a row per metric and variant, with numbers of full precision', () => {
    const sent = snakeCased(answer(run({ metrics: [...better, proportion('visits', { 1: 30, 2: 20 })] })))
    const records = recordsOf(csvReport(sent))
    expect(records.map((row) => [row.metric_key, row.variant_name, row.is_control])).toEqual([
      ['orders', 'control', 'true'],
      ['orders', 'treatment', 'false'],
      ['visits', 'control', 'true'],
      ['visits', 'treatment', 'false'],
    ])
    const [, { comparisons: [comparison] = [] } = {}] = sent.metrics
    expect(records[3]).toMatchObject({
      level: '0.02',
      difference: String(comparison?.difference),
      uplift: String(comparison?.uplift?.value),
      p_value: String(comparison?.p_value),
      verdict: 'undecided',
      decided_by: 'always_valid.p_value',
      variant_outcome: 'ship',
    })
    expect(Number(records[3]?.difference)).toBeLessThan(0)
    expect(records[2]).toMatchObject({ difference: '', verdict: '', variant_outcome: '' })
  })

  test('quotes fields, and defuses texts that a spreadsheet would take for a formula', () => {
    for (const name of ['=1+1', '+1', '-1', '@x', ' =1', '\t=1', '＝1', 'a,b', 'a"b', 'a\r\nb', '"=1"']) {
      const [, row] = recordsOf(csvOf({ ...named(name), experiment: { id: 1, name } }))
      const isFormula = /^\s*[=+\-@＝]/.test(name)
      expect([row?.experiment_name, row?.variant_name]).toEqual(Array(2).fill(isFormula ? `'${name}` : name))
    }
  })

  test('gives the levels as compared, which agree with the difference, and so does the report', () => {
    const cells = (users: Record<number, [number, number]>) =>
      Object.entries(users).flatMap(([variant, own]) =>
        own.map((count, index) => units(Number(variant), { period: index + 1, users: count })),
      )
    const orders = proportion('orders', {})
    const rows = { 1: [500, 100], 2: [50, 300] } as const
    const sums = Object.entries(rows).flatMap(([variant, own]) =>
      own.map((num, index) => ({
        ...NO_TOTALS,
        variantId: Number(variant),
        period: index + 1,
        users: num,
        events: num,
        num,
        numNum: num,
      })),
    )
    const given = {
      units: cells({ 1: [1000, 1000], 2: [100, 3000] }),
      periods: [
        { period: 1, shares: { 1: 91, 2: 9 } },
        { period: 2, shares: { 1: 25, 2: 75 } },
      ],
      metrics: [{ ...orders, sums }],
    }
    const [control, treatment] = recordsOf(csvOf(given))
    const compared = [treatment?.compared_level_control, treatment?.compared_level].map(Number) as [number, number]
    expect(compared[1] - compared[0]).toBeCloseTo(Number(treatment?.difference), 12)
    expect(Math.abs(Number(treatment?.level) - compared[1])).toBeGreaterThan(0.01)
    expect(control?.compared_level).toBe('')
    const report = reportOf(given)
    expect(report).toContain(
      `| orders | treatment | ${compared.map((level) => `${(100 * level).toFixed(2)} %`).join(' | ')} |`,
    )
    expect(report).toContain('- Levels are as compared, adjusted by values before exposure or by period: orders.\n')
  })

  test('gives the segments of a breakdown after the metrics', () => {
    const [orders] = better
    const segments = [
      { value: 'US', units: [units(1), units(2)], metrics: [{ key: 'orders', sums: orders?.sums ?? [] }] },
    ]
    const given = { metrics: better, segments, question: { dimension: 'country_code' } }
    expect(recordsOf(csvOf(given)).map((row) => [row.dimension, row.dimension_value])).toEqual([
      ['', ''],
      ['', ''],
      ['country_code', 'US'],
      ['country_code', 'US'],
    ])
    expect(reportOf(given)).toContain('| US | orders | treatment | 10.00 % | 18.00 % |')
  })
})

test('the example of docs/decisions-explained.md is the report of its figures, and explains each outcome', () => {
  const page = readDocument('docs/decisions-explained.md')
  expect(codeOf(page, '')[0]).toBe(markdownReport(exampleAnswer()))
  const outcomes: Record<Outcome, true> = {
    ship: true,
    stop: true,
    continue: true,
    blocked: true,
    no_difference: true,
    inconclusive: true,
  }
  for (const outcome of Object.keys(outcomes)) expect(page).toContain(`\n| \`${outcome}\` |`)
})

test('answers that older versions froze have both reports, with nothing left undefined', () => {
  const files = globSync('../fixtures/{frozen/format-1,database/*/frozen-*}.json', {
    cwd: fileURLToPath(new URL('.', import.meta.url)),
  })
  const kept = files.flatMap((file) => {
    const content = JSON.parse(readFileSync(new URL(file, import.meta.url), 'utf8'))
    return content.answer ? [content] : [content.plain, content.by_plan]
  })
  expect(kept.length).toBeGreaterThan(8)
  for (const { answer } of kept) {
    const report = markdownReport(answer)
    expect(report).toContain(answer.decision.outcome === 'blocked' ? '**Do not decide' : '**')
    for (const text of [report, csvReport(answer)]) expect(text).not.toMatch(/undefined|NaN|null|\[object/)
    expect(recordsOf(csvReport(answer)).length).toBeGreaterThanOrEqual(answer.metrics.length)
  }
})
