import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { answer } from '../../server/analysis/answer.ts'
import { digestOf } from '../../server/analysis/digest.ts'
import { snakeCased } from '../../server/analysis/snake-case.ts'
import { FORMAT } from '../../server/analysis/statistics.ts'
import { upgrade } from '../../server/analysis/upgrade.ts'
import type { Loose } from '../support/api.ts'
import { onOneDatabase, type TestApp } from '../support/app.ts'
import { verifyResult } from './verify-result.ts'

const fixture = (name: string) =>
  JSON.parse(readFileSync(new URL(`../fixtures/frozen/${name}.json`, import.meta.url), 'utf8'))

/**
 * A frozen run, exported before formats were numbered: the plain question, and a fixed analysis broken down by plan.
 */
const BEFORE: { plain: Loose; by_plan: Loose } = fixture('format-1')
/** A frozen run of two allocation periods in which everybody converts. Its engine counted one period's conversions. */
const { made_by: _, ...TWO_PERIODS }: Loose = fixture('format-2-two-periods')

const changed = (kept: Loose, change: (copy: Loose) => void): Loose => {
  const copy = structuredClone(kept)
  change(copy)
  return copy
}

test('statistics of format 1 and 2 are brought to the present format', () => {
  for (const { statistics } of [BEFORE.plain, BEFORE.by_plan, TWO_PERIODS]) {
    expect(statistics.format ?? 1).toBeLessThan(FORMAT)
    const present = upgrade(structuredClone(statistics))
    expect(present.format).toBe(FORMAT)
    expect(upgrade(present)).toBe(present)
    expect(JSON.parse(JSON.stringify(snakeCased(answer(present))))).toMatchObject({ engine_version: '0.1.0' })
  }
  expect(upgrade(BEFORE.by_plan.statistics).question.departs).toEqual(['method'])
})

test('every departure that was stored as a phrase has a code with the same phrase', () => {
  const phrases = [
    'by a fixed analysis',
    'of some users only',
    'of one segment',
    'of part of the time',
    'as of an earlier time',
    'in another window',
    'of some metrics only',
    'read from events after the results were frozen',
  ]
  const departing = changed(BEFORE.by_plan.statistics, ({ question }) => {
    question.departs = phrases
  })
  expect(answer(upgrade(departing)).warnings[0]).toContain(`(${phrases.join(', ')})`)
})

test('a file of an older engine verifies: what that engine may have computed otherwise is shown, not an error', () => {
  for (const kept of [BEFORE.plain, BEFORE.by_plan]) {
    const { status, output } = verifyResult(kept)
    expect([status, output]).toEqual([0, expect.stringContaining('agrees with its statistics')])
    expect(output).toContain('no digest, so that other figures cannot be checked')
  }
  const otherwise = changed(BEFORE.plain, (copy) => {
    copy.answer.sample_ratio.assigned.sequential_p_value = 0.5
    copy.answer.decision.reasons = ['Said in other words.']
  })
  const { status, output } = verifyResult(otherwise)
  expect([status, output]).toEqual([0, expect.stringContaining('By other rules now, answer.sample_ratio.assigned')])
  expect(output).toMatch(/Worded otherwise now, answer.decision.reasons: .*, kept \["Said in other words."\]/)
})

test('a false winner of an older engine is shown beside what is right', () => {
  expect(TWO_PERIODS.answer.winner).toMatchObject({ variant_name: 'treatment', relative_uplift: 79.12 })
  const { status, output } = verifyResult(TWO_PERIODS)
  expect(status).toBe(0)
  expect(output).toContain('By other rules now, answer.winner: computed null, kept {"variant_id":2')
  expect(output).toContain('By other rules now, answer.variants.0.conversion_rate: computed 100, kept 39.88')
})

test('a change of a figure that all engines compute alike is an error without a digest; with one, every change is', () => {
  const counted = changed(BEFORE.plain, ({ statistics }) => {
    statistics.metrics[0].sums[0].sums[0] += 1
  })
  expect(verifyResult(counted).status).toBe(1)
  const users = changed(TWO_PERIODS, (copy) => {
    copy.answer.variants[0].total_users += 1
  })
  expect(verifyResult(users)).toMatchObject({
    status: 1,
    output: expect.stringContaining('answer.variants.0.total_users'),
  })
  const shown = changed(BEFORE.plain, (copy) => {
    copy.answer.metrics[2].variants[0].level += 1
  })
  expect(verifyResult(shown)).toMatchObject({
    status: 1,
    output: expect.stringContaining('answer.metrics.2.variants.0'),
  })
  const newer = changed(BEFORE.plain, ({ statistics }) => {
    statistics.format = 99
  })
  expect(verifyResult(newer)).toMatchObject({ status: 1, output: expect.stringContaining('format 99') })

  const sealed = { ...TWO_PERIODS, digest: digestOf(TWO_PERIODS) }
  expect(verifyResult(sealed)).toMatchObject({ status: 0, output: expect.stringContaining('is as it was frozen') })
  const broken = changed(sealed, (copy) => {
    copy.answer.variants[0].conversions += 1
  })
  expect(verifyResult(broken)).toMatchObject({ status: 1, output: expect.stringContaining('was changed after') })
})

/** Replaces the ids in a value of the fixture by those of another experiment and its variants. */
function withIds(value: Loose, experimentId: number, ids: Record<string, number>): Loose {
  if (Array.isArray(value)) return value.map((item) => withIds(item, experimentId, ids))
  if (value === null || typeof value !== 'object') return value
  const entries = Object.entries(value).map(([key, item]) => {
    if (key === 'variant_id') return [key, item === null ? null : ids[String(item)]]
    if (key === 'experiment_id') return [key, experimentId]
    if (key === 'experiment') return [key, { ...(item as object), id: experimentId }]
    return [ids[key] ?? key, withIds(item, experimentId, ids)]
  })
  return Object.fromEntries(entries)
}

/** Stores statistics and answer of a fixture for a frozen run of an experiment. */
async function storeBefore({ platform }: TestApp, experiment: MadeExperiment, before: Loose) {
  const ids = { 1: experiment.variants.control as number, 2: experiment.variants.treatment as number }
  const stored = withIds(before, experiment.id, ids)
  await platform.orm.em.fork().execute(
    `update frozen_results f set statistics = ?::jsonb, answer = ?::jsonb, digest = null from runs r
     where r.id = f.run_id and r.experiment_id = ?`,
    [JSON.stringify(stored.statistics), JSON.stringify(stored.answer), experiment.id],
  )
  return stored
}
type MadeExperiment = { id: number; variants: Record<string, number> }

/** Freezes a run with the metrics of the fixture, and stores the fixture's statistics and answer for the run. */
async function freezeInFormat1(app: TestApp) {
  const { api } = app
  const definitions = {
    orders: { type: 'proportion', event_type: 'order' },
    spent: { type: 'sum', event_type: 'order', property: 'amount', cap: 0.9 },
    latency: { type: 'quantile', event_type: 'request', property: 'ms', quantile: 0.5 },
    'order-value': { type: 'mean', event_type: 'order', property: 'amount' },
  }
  const roles = ['primary', 'secondary', 'secondary', 'guardrail']
  const metrics: { metric_id: number; role: string | undefined }[] = []
  for (const [index, [key, definition]] of Object.entries(definitions).entries()) {
    const { id } = await api.ok('POST', '/api/metrics', { key, name: key, definition })
    metrics.push({ metric_id: id, role: roles[index] })
  }
  const experiment = await api.makeExperiment({ control: 50, treatment: 50 }, { dimensions: ['plan'] })
  await api.ok('PUT', `/api/experiments/${experiment.id}/metrics`, { metrics })
  for (let user = 0; user < 6; user++) {
    await api.variantOf(`user ${user}`, experiment, { attributes: { plan: 'gold' } })
    await api.record({ user_id: `user ${user}`, type: 'conversion' })
  }
  await api.ok('POST', `/api/experiments/${experiment.id}/complete`)
  await api.ok('POST', `/api/experiments/${experiment.id}/freeze`)
  const stored = await storeBefore(app, experiment, BEFORE.plain)
  return { experiment, stored }
}

onOneDatabase('a run that was frozen in format 1', (app) => {
  test('keeps its answer, gives its quantiles to further questions, and has an export that verifies', async () => {
    const { api } = app()
    const { experiment, stored } = await freezeInFormat1(app())
    expect(await api.results(experiment)).toMatchObject(stored.answer)

    const broken = await api.results(experiment, { dimension: 'plan' })
    const latency = (answer: Loose) => answer.metrics.find(({ key }: Loose) => key === 'latency')
    expect(latency(stored.answer).variants[0].level).toBeGreaterThan(0)
    for (const [index, { level, interval }] of latency(stored.answer).variants.entries())
      expect(latency(broken).variants[index]).toMatchObject({ level, interval })
    expect(latency(broken).comparisons[0].difference).toBe(latency(stored.answer).comparisons[0].difference)
    expect(broken.warnings.join()).not.toContain('after the results were frozen')

    const exported = await api.ok('POST', `/api/experiments/${experiment.id}/results/frozen`)
    expect(exported.statistics).toEqual(stored.statistics)
    expect(exported.answer).toEqual(stored.answer)
    expect(verifyResult(exported)).toMatchObject({ status: 0 })
    const kept = await api.ok('POST', `/api/experiments/${experiment.id}/results/frozen`, { dimension: 'plan' })
    expect(verifyResult(kept)).toMatchObject({ status: 0 })
  })
})

onOneDatabase('a run of two periods that was frozen in format 2', (app) => {
  test('keeps its answer, although it is wrong; new questions are answered rightly', async () => {
    const { api } = app()
    const experiment = await api.makeExperiment()
    const period = async (number: number) => {
      const users = Array.from({ length: 20 }, (_, user) => `of period ${number} ${user}`)
      await Promise.all(users.map((user_id) => api.variantOf(user_id, experiment)))
      const events = users.map((user_id) => ({ user_id, type: 'conversion', attributes: {} }))
      await api.ok('POST', '/api/events/batch', { events })
    }
    await period(1)
    await api.allocate(experiment, { control: 80, treatment: 20 })
    await period(2)
    await api.ok('POST', `/api/experiments/${experiment.id}/complete`)
    await api.ok('POST', `/api/experiments/${experiment.id}/freeze`)
    const stored = await storeBefore(app(), experiment, TWO_PERIODS)
    expect(await api.results(experiment)).toMatchObject(stored.answer)
    const { variants, winner } = await api.results(experiment, { confidence_level: 0.9 })
    expect(variants.map(({ conversion_rate }: Loose) => conversion_rate)).toEqual([100, 100])
    expect(winner).toBeNull()
    const exported = await api.ok('POST', `/api/experiments/${experiment.id}/results/frozen`)
    expect(exported).toMatchObject({ statistics: stored.statistics, answer: stored.answer, digest: null })
    expect(verifyResult(exported).status).toBe(0)
  })
})
