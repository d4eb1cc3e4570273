import { expect, test } from 'vitest'
import { onEachDatabase } from '../support/app.ts'
import { examples } from './examples.ts'
import { operations } from './operations.ts'
import { type Replayed, replay } from './replay.ts'

const faulty = (replayed: Replayed[]) => replayed.filter(({ faults }) => faults.length > 0)

test('the specification has 24 operations, and 27 examples including its section Usage', () => {
  expect(new Set(operations.map((operation) => operation.route)).size).toBe(24)
  expect(examples).toHaveLength(27)
})

test('every example of the specification is a request of its operation', () => {
  for (const { route, method, path, body, sent, keyed } of examples) {
    const [documented, template = ''] = route.split(' ')
    expect(method).toBe(documented)
    expect(path).toMatch(new RegExp(`^${template.replace(/\{\w+\}/g, '[^/]+')}$`))
    expect(Object.keys(body ?? {})).toEqual(expect.arrayContaining(Object.keys(sent ?? {})))
    expect(keyed).toBe(!path.startsWith('/api/auth/'))
  }
})

onEachDatabase('the examples of the specification', (app) => {
  test('work unchanged on a fresh database', async () => {
    const replayed = await replay(app().url, { slash: false })
    expect(faulty(replayed)).toEqual([])
    expect(replayed).toHaveLength(examples.length)
  })

  test('work with a slash at the end of every path', async () => {
    expect(faulty(await replay(app().url, { slash: true, suffix: '_slash' }))).toEqual([])
  })

  test.each([false, true])('work if the experiment has a second variant (slash: %s)', async (slash) => {
    const replayed = await replay(app().url, { slash, suffix: `_two_${slash}`, treatment: true })
    expect(faulty(replayed)).toEqual([])
    const answerOf = (title: string) => replayed.find((candidate) => candidate.title === title)?.answer as never
    const { id, status } = answerOf('Create an Experiment') as { id: number; status: string }
    expect(status).toBe('draft')
    for (const title of [
      'Check Experiment Eligibility and Get Variant',
      'Usage: Check Experiment Eligibility and Get Variant',
    ])
      expect(answerOf(title)).toEqual({ eligible_experiment_ids: { [id]: expect.any(Object) } })
    expect(answerOf('Check Experiment Eligibility and Get Variant')).toEqual(
      answerOf('Usage: Check Experiment Eligibility and Get Variant'),
    )
    expect((answerOf('Get experiment results') as { variants: unknown[] }).variants).toHaveLength(2)
    for (const title of ['Get All Experiments', 'Get All Segments', 'Get Users', 'Get Events', 'See all the tokens'])
      expect(answerOf(title), title).not.toEqual([])
    expect(answerOf('Usage: Get Events')).toHaveLength(2)
  })
})
