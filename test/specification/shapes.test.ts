import { describe, expect, test } from 'vitest'
import { onOneDatabase } from '../support/app.ts'
import { settled } from '../support/settled.ts'
import { faultsOf, shapes } from './shapes.ts'

const experiment = {
  id: 1,
  name: 'new_checkout_flow',
  description: null,
  status: 'draft',
  created_at: '2026-01-01T12:00:00.000Z',
  started_at: null,
  ended_at: null,
}

describe('a shape', () => {
  test('accepts an answer with every documented field and others', () => {
    expect(faultsOf({ ...experiment, key: 'new-checkout-flow' }, 'ExperimentResponse')).toEqual([])
  })

  test.each([
    ['null in a field that is not optional', { name: null }, 'answer.name is not str: null'],
    ['a fraction for an int', { id: 1.5 }, 'answer.id is not int: 1.5'],
    ['a string for an int', { id: '1' }, 'answer.id is not int: "1"'],
    ['a time without milliseconds', { created_at: '2026-01-01T12:00:00Z' }, 'answer.created_at is not datetime'],
    ['a time with an offset', { started_at: '2026-01-01T12:00:00.000+00:00' }, 'answer.started_at is not datetime'],
    ['a date that does not exist', { created_at: '2026-13-01T12:00:00.000Z' }, 'answer.created_at is not datetime'],
    ['an unknown status', { status: 'begun' }, 'answer.status is not ExperimentStatus'],
  ])('reports %s', (_what, change, fault) => {
    const faults = faultsOf({ ...experiment, ...change }, 'ExperimentResponse')
    expect(faults).toEqual([expect.stringContaining(fault)])
  })

  test('reports a missing field, faults inside lists and dictionaries, and a wrong message', () => {
    const { ended_at: _left, ...rest } = experiment
    expect(faultsOf(rest, 'ExperimentResponse')).toEqual(['answer.ended_at is absent'])
    expect(faultsOf([experiment, { ...experiment, id: 0.5 }], 'List[ExperimentResponse]')).toEqual([
      'answer[1].id is not int: 0.5',
    ])
    expect(faultsOf({ eligible_experiment_ids: { x: { variant_id: '2' } } }, 'EligibilityResponse')).toEqual([
      'answer.eligible_experiment_ids has the key x, which is not an id',
      'answer.eligible_experiment_ids.x.variant_id is not int: "2"',
    ])
    expect(faultsOf({ message: 'Done' }, { message: 'User deleted successfully' })).toHaveLength(1)
    expect(faultsOf({}, 'List[UserResponse]')).toHaveLength(1)
    expect(faultsOf([], 'UserResponse')).toHaveLength(1)
  })
})

onOneDatabase('the answers', (app) => {
  test('contain every documented field, even those that the request left out', async () => {
    const { api } = app()
    const experiment = await api.makeExperiment({ control: 33.3333, treatment: 0.0001 })
    const segment = await api.ok('POST', '/api/segments', { name: 'bare' })
    const user = await api.makeUser()
    const event = await api.ok('POST', '/api/events', { user_id: user.id, type: 'click' })
    expect(segment).toMatchObject({ description: null, rules: null })
    expect(user).toMatchObject({ country_code: null, is_premium: false })
    expect(event).toMatchObject({ experiment_id: null, variant_id: null, properties: null })
    expect(faultsOf(segment, 'SegmentResponse')).toEqual([])
    expect(faultsOf(user, 'UserResponse')).toEqual([])
    expect(faultsOf(event, 'EventResponse')).toEqual([])

    await api.ok('POST', '/api/segments/assign-experiment', { experiment_id: experiment.id, segment_id: segment.id })
    const detail = await api.ok('GET', `/api/experiments/${experiment.id}`)
    expect(faultsOf(detail, 'ExperimentDetailResponse')).toEqual([])
    expect(detail.variants).toHaveLength(2)
    expect(detail.segments).toHaveLength(1)
  })

  test('contain a winner with every documented field if there is a winner', async () => {
    const { api } = app()
    const experiment = await api.makeExperiment({ control: 50, treatment: 50 })
    const events = []
    for (let person = 0; person < 400; person++) {
      const better = person % 2 === 1
      const who = { user_id: `shape-${person}`, experiment_id: experiment.id, attributes: {} }
      const seen = { ...who, variant_id: experiment.variants[better ? 'treatment' : 'control'] }
      events.push({ ...seen, type: '$exposure' })
      if (person % 10 < (better ? 8 : 2)) events.push({ ...seen, type: 'conversion' })
    }
    const stored = await api.ok('POST', '/api/events/batch', { events })
    expect(stored.rejected).toBe(0)
    await settled(app())
    const results = await api.results(experiment)
    expect(faultsOf(results, 'ResultsResponse')).toEqual([])
    expect(faultsOf(results.winner, 'Winner')).toEqual([])
    expect(results.winner.variant_id).toBe(experiment.variants.treatment)
    for (const variant of results.variants) {
      expect(faultsOf(variant, shapes.VariantResult)).toEqual([])
      expect(variant.p_value === null).toBe(variant.is_control)
    }
  })
})
