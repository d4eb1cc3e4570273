import { beforeAll, describe, expect, test } from 'vitest'
import { verifyTotals } from '../../server/totals/verify.ts'
import type { Loose, TestApi } from '../support/api.ts'
import { onOneDatabase } from '../support/app.ts'

const sleep = (milliseconds: number) => new Promise((resolve) => setTimeout(resolve, milliseconds))
const usersOf = ({ variants }: Loose) => variants.map((row: Loose) => row.total_users)
const conversionsOf = ({ variants }: Loose) => variants.map((row: Loose) => row.conversions)

/** The people of an experiment: those with one id by variant, and crossovers by the variant that they had first. */
type People = { ones: [number, number]; firsts: [string[], string[]] }

/**
 * Assigns people to an experiment of two equal variants. Some are known by two ids that were drawn apart and are joined
 * by a login, as many of them first in the control as first in the treatment. The id that was drawn first is the
 * smaller one for some, and the larger one for others.
 */
async function assignPeople(api: TestApi, experiment: Loose, crossovers: number): Promise<People> {
  const { control } = experiment.variants
  const variantOf = async (id: string) => ((await api.variantOf(id, experiment)) === control ? 0 : 1)
  const ones: People['ones'] = [0, 0]
  const firsts: People['firsts'] = [[], []]
  for (let round = 0; Math.min(firsts[0].length, firsts[1].length) < crossovers / 2; round++) {
    const pairs = Array.from({ length: 16 }, (_, index) => {
      const ids = [`device ${experiment.id} ${round} ${index}`, `user ${experiment.id} ${round} ${index}`] as const
      return { ids, ordered: index % 2 ? ids : ids.toReversed() }
    })
    const first = await Promise.all(pairs.map(({ ordered }) => variantOf(ordered[0] as string)))
    // So that the two assignments of a person are of different milliseconds.
    await sleep(2)
    const second = await Promise.all(pairs.map(({ ordered }) => variantOf(ordered[1] as string)))
    const joined = pairs.filter((_, index) => {
      const [one, other] = [first[index] as 0 | 1, second[index] as 0 | 1]
      const isWanted = one !== other && firsts[one].length < crossovers / 2
      if (isWanted) firsts[one].push(`user ${experiment.id} ${round} ${index}`)
      else for (const variant of [one, other]) ones[variant]++
      return isWanted
    })
    await Promise.all(
      joined.map(({ ids: [alias_id, user_id] }) => api.ok('POST', '/api/users/alias', { alias_id, user_id })),
    )
  }
  return { ones, firsts }
}

onOneDatabase('people who are known by two ids', (app) => {
  test('stand under the variant that they were first assigned, so that they block no clean experiment', {
    timeout: 60_000,
  }, async () => {
    const { api, platform } = app()
    const experiment = await api.makeExperiment()
    const { ones } = await assignPeople(api, experiment, 14)
    const singles = Array.from({ length: 200 }, (_, index) => `single ${experiment.id} ${index}`)
    const drawn = await Promise.all(singles.map((id) => api.variantOf(id, experiment)))
    for (const variant of drawn) ones[variant === experiment.variants.control ? 0 : 1]++

    const answer = await api.results(experiment)
    expect(answer).toMatchObject({ crossovers: 14, crossover_rule: 'exclude' })
    expect(usersOf(answer)).toEqual(ones)
    expect(answer.sample_ratio.exclusions).toMatchObject({ is_mismatch: false })
    expect(answer.sample_ratio.exclusions.p_value).toBeGreaterThan(0.1)
    expect(answer.decision.outcome).not.toBe('blocked')
    expect(usersOf(await api.results(experiment, { crossovers: 'first' }))).toEqual(ones.map((users) => users + 7))

    await platform.reporting.totals.catchUp()
    expect(await api.results(experiment)).toEqual(answer)
    expect(await verifyTotals(platform.orm.em.fork())).toBeNull()
  })

  describe('in an experiment that analyses them under the first variant', () => {
    let experiment: Loose
    let people: People
    let metrics: Loose[]
    const ask = (question: object = {}) => app().api.results(experiment as { id: number }, question)

    beforeAll(async () => {
      const { api, platform } = app()
      experiment = await api.makeExperiment({ control: 50, treatment: 50 }, { crossovers: 'first' })
      metrics = []
      for (const [name, definition] of Object.entries({
        spent: { type: 'sum', property: 'value' },
        capped: { type: 'sum', property: 'value', cap: 0.9 },
        median: { type: 'quantile', property: 'value', quantile: 0.5 },
      }))
        metrics.push(
          await api.ok('POST', '/api/metrics', {
            name: `${name} ${experiment.id}`,
            definition: { event_type: `order ${experiment.id}`, ...definition },
          }),
        )
      await api.ok('PUT', `/api/experiments/${experiment.id}/metrics`, {
        metrics: metrics.map(({ id }) => ({ metric_id: id, role: 'secondary' })),
      })
      people = await assignPeople(api, experiment, 6)
      await platform.reporting.totals.catchUp()
      for (const [index, user_id] of people.firsts.flat().entries())
        for (const type of ['conversion', `order ${experiment.id}`])
          for (const value of [index, 2 * index]) await api.record({ user_id, type, properties: { value } })
    })

    test('they count there, from totals, and the other rule is a departure from the plan', async () => {
      const { api, platform } = app()
      const { ones, firsts } = people
      const before = { planned: await ask(), other: await ask({ crossovers: 'exclude' }) }
      const { planned, other } = before
      expect(planned).toMatchObject({ crossovers: 6, crossover_rule: 'first' })
      expect(usersOf(planned)).toEqual([ones[0] + 3, ones[1] + 3])
      expect(conversionsOf(planned)).toEqual(firsts.map((users) => users.length))
      expect(planned.metrics.map(({ source }: Loose) => source)).toEqual(['totals', 'totals', 'users', 'users'])
      expect(planned.sample_ratio.exclusions.status).toBe('zero_variance')
      expect(planned.warnings.join()).toContain('compare with crossovers=exclude')
      expect(planned.warnings.join()).not.toContain('not the question that was planned')

      expect(other).toMatchObject({ crossovers: 6, crossover_rule: 'exclude' })
      expect(usersOf(other)).toEqual(ones)
      expect(conversionsOf(other)).toEqual([0, 0])
      expect(other.metrics.slice(0, 2).map(({ source }: Loose) => source)).toEqual(['totals', 'totals'])
      expect(other.warnings[0]).toContain('without crossovers')
      expect(other.warnings.join()).toContain('compare with crossovers=first')

      await platform.reporting.totals.catchUp()
      const timeless = (answer: Loose) =>
        JSON.parse(JSON.stringify({ ...answer, metrics: answer.metrics.map(figures) }))
      expect(timeless(await ask())).toEqual(timeless(planned))
      expect(timeless(await ask({ crossovers: 'exclude' }))).toEqual(timeless(other))
      expect(await verifyTotals(platform.orm.em.fork())).toBeNull()
      const raw = await ask({ to: '2100-01-01T00:00:00Z' })
      expect(raw.metrics.map(figures)).toEqual(planned.metrics.map(figures))
      const { days } = await api.ok('POST', `/api/experiments/${experiment.id}/results/series`, {
        metric: metrics[0]?.key,
      })
      expect(days.at(-1).variants.map(({ users }: Loose) => users)).toEqual(usersOf(planned))
    })

    test('the rule is fixed while the run goes on, and a frozen run still answers by both', async () => {
      const { api } = app()
      const path = `/api/experiments/${experiment.id}`
      expect((await api.call('PUT', path, { crossovers: 'exclude' })).status).toBe(409)
      expect((await api.ok('GET', `${path}/checklist`)).plan).toMatchObject({ crossovers: 'first' })
      await api.ok('POST', `${path}/complete`)
      await api.ok('POST', `${path}/freeze`)
      await api.ok('PUT', path, { crossovers: 'exclude' })
      expect(await ask()).toMatchObject({ state: 'frozen', crossover_rule: 'first' })
      expect(usersOf(await ask())).toEqual(people.ones.map((users) => users + 3))
      const other = await ask({ crossovers: 'exclude' })
      expect(usersOf(other)).toEqual(people.ones)
      expect(other.metrics.map(({ source }: Loose) => source)).toEqual(['totals', 'totals', 'users', 'users'])
    })
  })
})

const figures = ({ source: _, cost: __, ...metric }: Loose) => metric

onOneDatabase('a rate of users with an event', (app) => {
  test('reads no value, so that no event is unusable, from totals and from events alike', async () => {
    const { api } = app()
    const experiment = await api.makeExperiment()
    await api.variantOf(`texts ${experiment.id}`, experiment)
    await api.record({ user_id: `texts ${experiment.id}`, type: 'conversion', properties: { value: 'much' } })
    for (const question of [{}, { to: '2100-01-01T00:00:00Z' }]) {
      const answer = await api.results(experiment, question)
      expect(answer.metrics[0].variants.map(({ unusable }: Loose) => unusable)).toEqual([0, 0])
      expect(answer.warnings.join()).not.toContain('no usable number')
    }
  })
})
