import { expect, test } from 'vitest'
import type { TestApi } from '../support/api.ts'
import { onOneDatabase } from '../support/app.ts'

onOneDatabase('a variant that is switched off during the run', (app) => {
  async function switchedOff(api: TestApi, name: string) {
    const experiment = await api.makeExperiment({ control: 34, first: 33, second: 33 })
    const arrive = (when: string) =>
      Promise.all(
        Array.from({ length: 60 }, (_, user) => api.variantOf(`${experiment.id} ${when} ${user}`, experiment)),
      )
    await arrive('before')
    await api.ok('PUT', `/api/experiments/${experiment.id}/variants/${experiment.variants[name]}`, { enabled: false })
    await arrive('after')
    return experiment
  }

  test('leaves the decision and the test of exposures, and keeps its figures, also after the end', async () => {
    const { api } = app()
    const experiment = await switchedOff(api, 'second')
    const expectLeftOut = async () => {
      const { decision, sample_ratio, warnings, variants } = await api.results(experiment)
      expect(decision.outcome).not.toBe('blocked')
      expect(decision.variants.map(({ variant_name }: { variant_name: string }) => variant_name)).toEqual(['first'])
      expect(warnings.join(' ')).toContain('second')
      expect(
        variants.find(({ variant_name }: { variant_name: string }) => variant_name === 'second').total_users,
      ).toBeGreaterThan(0)
      // The draw: two degrees of freedom before, one after. Exposures of the two others: one each.
      expect([sample_ratio.assigned, sample_ratio.exposed]).toMatchObject([
        { status: 'ok', degrees_of_freedom: 3, is_mismatch: false },
        { status: 'ok', degrees_of_freedom: 2, is_mismatch: false },
      ])
    }
    await expectLeftOut()
    await api.ok('POST', `/api/experiments/${experiment.id}/complete`)
    await expectLeftOut()
  })

  test('blocks if it is the control', async () => {
    const { api } = app()
    const experiment = await switchedOff(api, 'control')
    const { decision } = await api.results(experiment)
    expect(decision.outcome).toBe('blocked')
    expect(decision.reasons.join(' ')).toContain('the control is disabled'.slice(4))
  })
})
