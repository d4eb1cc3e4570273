import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { answer } from '../../server/analysis/answer.ts'
import { snakeCased } from '../../server/analysis/snake-case.ts'
import { upgrade } from '../../server/analysis/upgrade.ts'
import type { Loose } from '../support/api.ts'
import { onOneDatabase, type TestApp } from '../support/app.ts'
import { verifyResult } from './verify-result.ts'

/**
 * A frozen run, exported before formats were numbered: the plain question, and a fixed analysis broken down by plan.
 */
const BEFORE: { plain: Loose; by_plan: Loose } = JSON.parse(
  readFileSync(new URL('../fixtures/frozen/format-1.json', import.meta.url), 'utf8'),
)

const changed = (kept: Loose, change: (copy: Loose) => void): Loose => {
  const copy = structuredClone(kept)
  change(copy)
  return copy
}

test('statistics of format 1 give the answer that was stored with them', () => {
  for (const { statistics, answer: stored } of [BEFORE.plain, BEFORE.by_plan]) {
    expect(statistics.format).toBeUndefined()
    const present = upgrade(structuredClone(statistics))
    expect(present.format).toBe(3)
    expect(upgrade(present)).toBe(present)
    expect(JSON.parse(JSON.stringify(snakeCased(answer(present))))).toMatchObject(stored)
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

test('a file of format 1 verifies: a changed figure is an error, a changed sentence is only reported', () => {
  for (const kept of [BEFORE.plain, BEFORE.by_plan]) expect(verifyResult(kept)).toMatchObject({ status: 0 })
  const counted = changed(BEFORE.plain, ({ statistics }) => {
    statistics.metrics[0].sums[0].sums[0] += 1
  })
  expect(verifyResult(counted).status).toBe(1)
  const shown = changed(BEFORE.plain, (copy) => {
    copy.answer.metrics[2].variants[0].level += 1
  })
  expect(verifyResult(shown)).toMatchObject({
    status: 1,
    output: expect.stringContaining('answer.metrics.2.variants.0'),
  })
  const worded = changed(BEFORE.plain, (copy) => {
    copy.answer.warnings = ['Said in other words.']
    copy.answer.decision.reasons = ['And so is this.']
    copy.answer.decision.variants[0].reasons = ['And this.']
    copy.answer.metrics[0].comparisons[0].reason = 'And that.'
  })
  const { status, output } = verifyResult(worded)
  expect([status, output]).toEqual([0, expect.stringContaining('is what its statistics say')])
  expect(output).toContain('Worded otherwise now, answer.warnings: computed ["7 events of spent')
  const newer = changed(BEFORE.plain, ({ statistics }) => {
    statistics.format = 99
  })
  expect(verifyResult(newer)).toMatchObject({ status: 1, output: expect.stringContaining('format 99') })
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

/** Freezes a run with the metrics of the fixture, and stores the fixture's statistics and answer for the run. */
async function freezeInFormat1({ api, platform }: TestApp) {
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
  const ids = { 1: experiment.variants.control as number, 2: experiment.variants.treatment as number }
  const stored = withIds(BEFORE.plain, experiment.id, ids)
  await platform.orm.em.fork().execute(
    `update frozen_results f set statistics = ?::jsonb, answer = ?::jsonb from runs r
     where r.id = f.run_id and r.experiment_id = ?`,
    [JSON.stringify(stored.statistics), JSON.stringify(stored.answer), experiment.id],
  )
  return { experiment, stored }
}

onOneDatabase('a run that was frozen in format 1', (app) => {
  test('keeps its answer, gives its quantiles to further questions, and has an export that verifies', async () => {
    const { api } = app()
    const { experiment, stored } = await freezeInFormat1(app())
    expect(await api.results(experiment)).toEqual(stored.answer)

    const broken = await api.results(experiment, { dimension: 'plan' })
    const latency = (answer: Loose) => answer.metrics.find(({ key }: Loose) => key === 'latency')
    expect(latency(stored.answer).variants[0].level).toBeGreaterThan(0)
    for (const [index, { level, interval }] of latency(stored.answer).variants.entries())
      expect(latency(broken).variants[index]).toMatchObject({ level, interval })
    expect(latency(broken).comparisons[0].p_value).toBe(latency(stored.answer).comparisons[0].p_value)
    expect(broken.warnings.join()).not.toContain('after the results were frozen')

    const exported = await api.ok('POST', `/api/experiments/${experiment.id}/results/frozen`)
    expect(exported.statistics).toEqual(stored.statistics)
    expect(exported.answer).toEqual(stored.answer)
    expect(verifyResult(exported)).toMatchObject({ status: 0 })
    const kept = await api.ok('POST', `/api/experiments/${experiment.id}/results/frozen`, { dimension: 'plan' })
    expect(verifyResult(kept)).toMatchObject({ status: 0 })
  })
})
