import { expect, test } from 'vitest'
import { onOneDatabase } from '../support/app.ts'

const RACERS = 12
const ROUNDS = 5

type Statuses = Record<number, number>

/** Sends the requests concurrently. @returns the number of answers, by status */
async function race(requests: readonly (() => Promise<{ status: number }>)[]): Promise<Statuses> {
  const counts: Statuses = {}
  for (const { status } of await Promise.all(requests.map((request) => request())))
    counts[status] = (counts[status] ?? 0) + 1
  return counts
}
const times = <T>(count: number, make: (index: number) => T): T[] =>
  Array.from({ length: count }, (_, index) => make(index))

onOneDatabase('the platform under concurrent requests', (app) => {
  const racing = (method: string, path: string, body: (index: number) => object | undefined) =>
    race(times(RACERS, (index) => () => app().api.call(method, `/api${path}`, body(index))))
  const oneWins = { 200: 1, 409: RACERS - 1 }
  const person = (round: number, index: number) => ({
    first_name: 'Ada',
    last_name: 'Lovelace',
    email: `ada-${round}-${index}@example.com`,
  })
  let made = 0
  const word = () => `race-${++made}`

  test('accepts exactly one creation with the same name, key, e-mail or id, and answers 409 to the others', async () => {
    for (const round of times(ROUNDS, Number)) {
      const name = word()
      expect(await racing('POST', '/experiments', () => ({ name }))).toEqual(oneWins)
      const key = word()
      expect(await racing('POST', '/experiments', () => ({ name: word(), key }))).toEqual(oneWins)
      expect(await racing('POST', '/segments', () => ({ name }))).toEqual(oneWins)
      const email = (index: number) => (index % 2 ? `${name}@example.com` : `${name.toUpperCase()}@EXAMPLE.com`)
      expect(await racing('POST', '/users', (index) => ({ ...person(round, index), email: email(index) }))).toEqual(
        oneWins,
      )
      expect(await racing('POST', '/users', (index) => ({ ...person(round, index), id: name }))).toEqual(oneWins)
      const { id } = await app().api.makeExperiment({ control: 10 })
      const variant = { name: 'treatment', percent_allocated: 1 }
      expect(await racing('POST', `/experiments/${id}/variants`, () => variant)).toEqual(oneWins)
    }
  })

  test('accepts all names that would give the same key, and gives each experiment its own key', async () => {
    const names = times(RACERS, (index) => `Same Key${'!'.repeat(index)}`)
    const answers = await Promise.all(names.map((name) => app().api.ok('POST', '/api/experiments', { name })))
    expect(new Set(answers.map(({ key }) => key)).size).toBe(RACERS)
  })

  test('never lets shares exceed 100 %', async () => {
    for (const round of times(ROUNDS, Number)) {
      const { id } = await app().api.makeExperiment({ control: 40 })
      const share = (index: number) => ({ name: `v${index}`, percent_allocated: 25 + round })
      expect(await racing('POST', `/experiments/${id}/variants`, share)).toEqual({ 200: 2, 400: RACERS - 2 })
      const { variants } = await app().api.ok('GET', `/api/experiments/${id}`)
      expect(variants.length).toBe(3)
    }
  })

  test('makes each step of the life cycle once, and deletes a draft or a user once', async () => {
    for (const _ of times(ROUNDS, Number)) {
      const { id } = await app().api.makeExperiment()
      for (const step of ['start', 'pause', 'resume', 'complete', 'archive'])
        expect(await racing('POST', `/experiments/${id}/${step}`, () => undefined), step).toEqual(oneWins)
      const { id: draft } = await app().api.makeExperiment()
      const once = { 200: 1, 404: RACERS - 1 }
      expect(await racing('DELETE', `/experiments/${draft}`, () => undefined)).toEqual(once)
      const user = await app().api.makeUser()
      expect(await racing('DELETE', `/users/${user.id}`, () => undefined), 'user').toEqual(once)
    }
  })

  test('stores an event once that is sent many times', async () => {
    for (const _ of times(ROUNDS, Number)) {
      const event = { user_id: 'ada', type: 'conversion', event_id: word(), attributes: {} }
      const answers = await Promise.all(times(RACERS, () => app().api.ok('POST', '/api/events', event)))
      expect(new Set(answers.map(({ id }) => id)).size).toBe(1)
      expect(answers.filter(({ duplicate }) => !duplicate).length).toBe(1)
    }
  })

  test('accepts or refuses changes of an object that is being deleted, and never answers a 5xx', async () => {
    const { api } = app()
    for (const _ of times(ROUNDS * 4, Number)) {
      const experiment = await api.makeExperiment({ control: 50, treatment: 0 })
      const segment = await api.ok('POST', '/api/segments', { name: word() })
      const user = await api.makeUser()
      const key = await api.ok('POST', '/api/auth/keys', { name: word() })
      const link = { experiment_id: experiment.id, segment_id: segment.id }
      const variant = `/api/experiments/${experiment.id}/variants/${experiment.variants.treatment}`
      const requests = [
        () => api.call('POST', '/api/segments/assign-experiment', link),
        () => api.call('POST', '/api/segments/assign-user', { user_id: user.id, segment_id: segment.id }),
        () => api.call('DELETE', `/api/segments/${segment.id}`),
        () => api.call('PUT', `/api/segments/${segment.id}`, { name: word(), rules: {} }),
        () => api.call('DELETE', '/api/segments/unassign-experiment', link),
        () => api.call('PUT', variant, { percent_allocated: 10 }),
        () => api.call('DELETE', variant),
        () => api.call('PUT', `/api/users/${user.id}`, { first_name: 'Eve' }),
        () => api.call('DELETE', `/api/users/${user.id}`),
        () => api.call('PATCH', `/api/auth/keys/${key.id}`, { is_active: false }),
        () => api.call('DELETE', `/api/auth/keys/${key.id}`),
        () => api.call('DELETE', `/api/experiments/${experiment.id}`),
      ]
      const shuffled = requests.map((request) => ({ request, at: Math.sin(++made) })).sort((a, b) => a.at - b.at)
      const statuses = await race(shuffled.map(({ request }) => request))
      expect(Object.keys(statuses).filter((status) => Number(status) >= 500)).toEqual([])
    }
  })
})
