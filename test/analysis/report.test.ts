import { globSync, readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { answer } from '../../server/analysis/answer.ts'
import type { Outcome } from '../../server/analysis/decide.ts'
import { byExclusion } from '../../server/analysis/exclusions.ts'
import { markdownReport } from '../../server/analysis/report.ts'
import { csvReport } from '../../server/analysis/report-csv.ts'
import { snakeCased } from '../../server/analysis/snake-case.ts'
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
    expect(report).toContain('- Orders rose.\n')
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
