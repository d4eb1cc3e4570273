import { expect, test } from 'vitest'
import type { TestApi } from '../support/api.ts'
import { freshDatabase, onPostgres, openApp } from '../support/app.ts'
import { scaleOf } from '../support/scale.ts'
import type { Experiment } from './login/model.ts'
import { CAUSES, type Count, DECISIONS, type Ground, KINDS, live, noCount } from './login/people.ts'
import { createRandom } from './scale/random.ts'

const { size: PEOPLE, seed: SEED } = scaleOf('logins')
/** The number of people who are there at the same time. */
const CONCURRENCY = 16

onPostgres(`${PEOPLE} people who log in`, () => {
  test('see another decision for a documented reason only', async () => {
    const environment = await freshDatabase('postgres')
    const apps = [await openApp('postgres', environment), await openApp('postgres', environment)] as const
    try {
      const apis = apps.map(({ api }) => api) as [TestApi, TestApi]
      const known = async () => {
        for (const { platform } of apps) await platform.definitions.watch.refresh()
      }
      const ground = { ...(await prepare(apis[0])), known }
      const total = new Map(KINDS.flatMap((kind) => DECISIONS.map((decision) => [`${kind} ${decision}`, noCount()])))
      const began = performance.now()
      const waiting = Array.from({ length: PEOPLE }, (_, person) => person).values()
      const living = Array.from({ length: CONCURRENCY }, async () => {
        for (const person of waiting) {
          const kind = KINDS[person % KINDS.length] as (typeof KINDS)[number]
          const order = person % 2 ? apis : ([apis[1], apis[0]] as const)
          const counts = await live(kind, `person ${person}`, order, ground, createRandom(SEED * 1_000_003 + person))
          for (const decision of DECISIONS) add(total.get(`${kind} ${decision}`) as Count, counts[decision])
        }
      })
      await Promise.all(living)
      const seconds = ((performance.now() - began) / 1000).toFixed(1)
      console.log(`${PEOPLE} people in ${seconds} s\n${tableOf(total)}`)
      const others = [...total.values()].flatMap((count) => count.others)
      expect(others.slice(0, 20)).toEqual([])
      const occurred = new Set([...total.values()].flatMap(({ allowed }) => Object.keys(allowed)))
      expect([...occurred].sort(), 'causes that occurred').toEqual(Object.keys(CAUSES).sort())
    } finally {
      for (const app of apps) await app.close()
    }
  }, 3_600_000)
})

/** Creates a holdout of 40 %, an experiment outside and two under it for each of three phases, and two rollouts. */
async function prepare(api: TestApi): Promise<Omit<Ground, 'known'>> {
  const started = async (settings: object, holdout?: Experiment): Promise<Experiment> => {
    const { id, variants } = await api.makeExperiment(undefined, settings)
    await api.ok('POST', `/api/experiments/${id}/start`)
    return { id, percents: [50, 50], variants: Object.values(variants), ...(holdout ? { holdout } : {}) }
  }
  const { id } = await api.makeExperiment({}, { kind: 'holdout', percent_held: 40 })
  await api.ok('POST', `/api/experiments/${id}/start`)
  const { variants } = await api.ok('GET', `/api/experiments/${id}`)
  const holdout = { id, percents: [40, 60], variants: variants.map((variant: { id: number }) => variant.id) }
  const phases: Experiment[][] = []
  for (let phase = 0; phase < 3; phase++)
    phases.push([
      await started({}),
      await started({ holdout_id: id }, holdout),
      await started({ holdout_id: id }, holdout),
    ])
  const rollouts = [
    { key: 'half', rule: 'r', percents: [50] },
    { key: 'thirds', rule: 'r', percents: [30, 30] },
  ]
  for (const { key, rule, percents } of rollouts) {
    const rollout = percents.map((percent, value) => ({ percent, value }))
    await api.ok('POST', '/api/flags', { key, type: 'number', default_value: -1, rules: [{ id: rule, rollout }] })
  }
  return { holdout, phases, rollouts }
}

function add(total: Count, count: Count) {
  total.people += count.people
  total.decisions += count.decisions
  total.others.push(...count.others)
  for (const cause of Object.keys(count.allowed) as (keyof Count['allowed'])[])
    total.allowed[cause] = (total.allowed[cause] ?? 0) + (count.allowed[cause] ?? 0)
}

/** Makes the lines of the table: people, decisions, allowed flips by cause, and others. */
function tableOf(total: ReadonlyMap<string, Count>): string {
  const lines = [...total].map(([name, { people, decisions, allowed, others }]) => {
    const causes = Object.entries(allowed).map(([cause, count]) => `${cause} ${count}`)
    const columns = [people, decisions, others.length].map((number) => String(number).padStart(9))
    return `${name.padEnd(24)}${columns.join('')}  ${causes.join(', ')}`
  })
  const causes = Object.entries(CAUSES).map(([cause, sentence]) => `${cause}: ${sentence}`)
  return ['                           people decisions   others  allowed flips', ...lines, ...causes].join('\n')
}
