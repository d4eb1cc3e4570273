import { describe, expect, test } from 'vitest'
import type { Loose } from '../support/api.ts'
import { onEachDatabase } from '../support/app.ts'

const users = (results: Loose) => results.variants.map((row: Loose) => row.total_users)
const conversions = (results: Loose) => results.variants.map((row: Loose) => row.conversions)

onEachDatabase('an experiment that is decided elsewhere', (app) => {
  describe('with a control of 100 % and a treatment of 0 %', () => {
    test('is started by events, which decide the users of both variants, and is not blocked', async () => {
      const { api } = app()
      const experiment = await api.makeExperiment({ treatment: 0 })
      const detail = await api.ok('GET', `/api/experiments/${experiment.id}`)
      const control = detail.variants.find((variant: Loose) => variant.is_control).id
      const { treatment } = experiment.variants
      const events = Array.from({ length: 150 }, (_, index) => [
        { user_id: `c${index}`, variant_id: control, type: 'view' },
        { user_id: `t${index}`, variant_id: treatment, type: 'view' },
        ...(index < 75 ? [{ user_id: `c${index}`, variant_id: control, type: 'conversion' }] : []),
        ...(index < 120 ? [{ user_id: `t${index}`, variant_id: treatment, type: 'conversion' }] : []),
      ]).flat()
      const batch = { events: events.map((event) => ({ ...event, experiment_id: experiment.id, attributes: {} })) }
      expect(await api.ok('POST', '/api/events/batch', batch)).toMatchObject({
        accepted: events.length,
        outside_run: 0,
      })
      const results = await api.results(experiment)
      expect(users(results)).toEqual([150, 150])
      expect(conversions(results)).toEqual([75, 120])
      expect(results).toMatchObject({
        externally_decided: 300,
        winner: { variant_id: treatment },
        sample_ratio: { assigned: { is_mismatch: false }, exposed: { is_mismatch: false } },
        decision: { outcome: 'ship', variant_id: treatment },
      })
      expect(results.warnings.filter((warning: string) => /decided by the application/.test(warning))).toEqual([
        'The variants of 300 users were decided by the application, not drawn here: whether they are comparable cannot be tested.',
      ])

      // Users whom the platform draws get the control, the only variant with a share, and do not make a mismatch.
      for (let index = 0; index < 10; index++) expect(await api.variantOf(`drawn ${index}`, experiment)).toBe(control)
      const later = await api.results(experiment)
      expect(users(later)).toEqual([160, 150])
      expect(later.sample_ratio.assigned).toMatchObject({ status: 'single_variant', is_mismatch: false })
      expect(later.decision.outcome).toBe('ship')
    })
  })
})
