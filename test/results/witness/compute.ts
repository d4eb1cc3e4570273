import { spawnSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect } from 'vitest'
import type { Loose } from '../../support/api.ts'
import type { ClockedApp } from '../../totals/set-clock.ts'

/** Lets base R compute an experiment's results from its exports, and compares them with the platform's answer. */

const COLUMNS = [
  'question',
  'experiment',
  'control',
  'variants',
  'level',
  'tuning',
  'kind',
  'type',
  'filter',
  'property',
  'count',
  'den_type',
  'den_filter',
  'den_property',
  'den_count',
  'binary',
  'any_tag',
  'from_hours',
  'until_hours',
  'covariate_days',
  'cap',
  'floor',
  'cap_of',
  'quantile',
  'as_of',
  'from',
  'where',
  'crossovers',
  'case',
  'role',
  'direction',
  'margin_type',
  'margin',
  'effect',
  'threshold',
] as const

/** A metric in the columns that the R script reads. A filter is written as `property~ge|eq|ne~value`. */
export type MetricRow = Partial<Record<(typeof COLUMNS)[number], string>>

const DEFAULTS: MetricRow = {
  kind: 'mean',
  count: 'no',
  den_count: 'no',
  binary: 'no',
  any_tag: 'no',
  from_hours: '0',
  covariate_days: '0',
  direction: 'increase',
  level: '0.95',
  tuning: '2000',
}

const TOLERANCE = 1e-9

type Figure = number | string | null
type Experiment = { id: number; variants: Record<string, number> }

async function exported(app: ClockedApp, path: string) {
  const response = await fetch(`${app.url}/api${path}`, { headers: { authorization: `Bearer ${app.api.token}` } })
  if (!response.ok) throw new Error(await response.text())
  return response.text()
}

/** Exports what the script reads. The events are those of all experiments. */
export async function exportTo(folder: string, app: ClockedApp, { id }: Experiment) {
  writeFileSync(join(folder, 'events.csv'), await exported(app, '/events/export?format=csv'))
  writeFileSync(
    join(folder, 'assignments.csv'),
    await exported(app, `/experiments/${id}/assignments/export?format=csv`),
  )
}

/** Computes the figures with base R. @returns them by question, variant and name of the figure */
export function computeInR(folder: string, experiment: Experiment, questions: Record<string, MetricRow>) {
  const lines = Object.entries(questions).map(([question, metric]) => {
    const row: Record<string, string> = {
      ...DEFAULTS,
      ...metric,
      question,
      experiment: String(experiment.id),
      control: String(experiment.variants.control),
      variants: Object.values(experiment.variants).join(' '),
    }
    return COLUMNS.map((column) => row[column] ?? '').join(',')
  })
  writeFileSync(join(folder, 'questions.csv'), [COLUMNS.join(','), ...lines].join('\n'))
  const [script, rules] = ['./witness.R', './decisions.R'].map((file) => new URL(file, import.meta.url).pathname)
  const { stdout, stderr, status } = spawnSync('Rscript', ['--vanilla', script as string, folder, rules as string], {
    encoding: 'utf8',
    maxBuffer: 64 * 1024 * 1024,
  })
  if (status !== 0) throw new Error(stderr)
  const figures = new Map<string, number | string>()
  for (const line of stdout.trim().split('\n')) {
    const [question, variant, figure, value = ''] = line.split(';')
    const text = value.trim()
    if (text !== 'NA') figures.set(`${question} ${variant} ${figure}`, Number.isNaN(Number(text)) ? text : Number(text))
  }
  return figures
}

/**
 * Lists the figures of the platform's answer under the names that the script uses.
 * @param isDecided the answer is that of a whole experiment: with verdicts, and all bounds
 */
export function figuresOf(key: string, { metrics }: { metrics: Loose[] }, isDecided = false): Map<string, Figure> {
  const metric = metrics.find((one) => one.key === key)
  const figures = new Map<string, Figure>()
  for (const { variant_id, users, immature } of metric.variants) {
    figures.set(`${variant_id} users`, users)
    if (isDecided) figures.set(`${variant_id} immature`, immature ?? 0)
  }
  for (const comparison of metric.comparisons) {
    const put = (figure: string, value: Figure | undefined) =>
      figures.set(`${comparison.variant_id} ${figure}`, value ?? null)
    const { variant_id, difference, standard_error, p_value, interval, uplift, always_valid, bayesian, cuped } =
      comparison
    put('difference', difference)
    put('standard_error', standard_error)
    put('p_value', p_value)
    put('uplift', uplift?.value)
    put('level', metric.variants.find((level: Loose) => level.variant_id === variant_id).level)
    put('always_valid_p', always_valid?.p_value)
    put('always_valid_lower', always_valid?.interval?.lower)
    put('probability_above', bayesian?.probability_better)
    put('loss', bayesian?.expected_loss)
    put('theta', cuped?.theta)
    put('reduction', cuped?.variance_reduction)
    // The platform gives two plain rates of one period Newcombe's interval, which the script does not compute.
    if (metric.kind !== 'proportion' || isDecided) put('lower', interval?.lower)
    if (!isDecided) continue
    put('upper', interval?.upper)
    put('uplift_lower', uplift?.interval?.lower)
    put('uplift_upper', uplift?.interval?.upper)
    put('verdict', comparison.verdict)
    if (metric.role !== 'guardrail') put('p_value_adjusted', comparison.p_value_adjusted)
    else {
      put('margin_p_value', comparison.guardrail.p_value)
      put('guardrail', comparison.guardrail.verdict)
    }
    // These have another sign where a decrease is good.
    for (const figure of ['probability_above', 'loss'])
      if (metric.direction === 'decrease') figures.delete(`${variant_id} ${figure}`)
  }
  return figures
}

/** Lists the decision and the documented block of an answer under the names that the script uses. */
export function conclusionsOf(answer: Loose): { decision: Map<string, Figure>; documented: Map<string, Figure> } {
  const decision = new Map<string, Figure>([
    ['whole outcome', answer.decision.outcome],
    ['whole shipped', answer.decision.variant_id ?? 'none'],
  ])
  for (const { variant_id, outcome } of answer.decision.variants) decision.set(`${variant_id} outcome`, outcome)
  const documented = new Map<string, Figure>([['whole winner', answer.winner?.variant_id ?? 'none']])
  for (const variant of answer.variants) {
    const put = (figure: string, value: Figure) => documented.set(`${variant.variant_id} documented_${figure}`, value)
    put('rate', variant.conversion_rate)
    put('lower', variant.confidence_interval.lower)
    put('upper', variant.confidence_interval.upper)
    if (variant.is_control) continue
    put('p_value', variant.p_value)
    put('uplift', variant.relative_uplift)
  }
  return { decision, documented }
}

/** The digits to which documented figures are rounded: percentages to 2, p-values to 4. */
const digitsOf = (name: string) => (name.includes(' documented_') ? (name.endsWith('p_value') ? 4 : 2) : null)

/**
 * Compares the figures that both sides give, within the tolerance. Rounded figures may be off by half a unit.
 * @param looks true: always-valid figures cumulate recorded looks, and may be tighter than those of now
 * @returns the number of compared figures
 */
export function compare(
  key: string,
  ours: Map<string, Figure>,
  theirs: Map<string, number | string>,
  options = '',
  looks = false,
): number {
  let compared = 0
  for (const [name, value] of ours) {
    const other = theirs.get(`${key} ${name}`)
    const isMissing = value === null && other === undefined
    if (isMissing || (value === null && /always_valid/.test(name))) continue
    const message = `${key} ${options}, variant ${name}: ${value} and ${other}`
    compared++
    if (typeof value === 'string' || typeof other === 'string') {
      expect(other, message).toBe(value)
      continue
    }
    const distance = (other as number) - (value as number)
    const wider = distance * (name.endsWith('always_valid_p') ? 1 : -1)
    const digits = digitsOf(name)
    if (digits !== null) expect(Math.abs(distance), message).toBeLessThan(0.5 * 10 ** -digits + TOLERANCE)
    else if (!(looks && /always_valid/.test(name) && wider > 0))
      expect(Math.abs(distance) / Math.max(1e-3, Math.abs(other as number)), message).toBeLessThan(TOLERANCE)
  }
  return compared
}
