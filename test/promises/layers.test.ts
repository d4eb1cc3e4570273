import { expect, test } from 'vitest'
import { binomialZ } from '../evaluation/goodness-of-fit.ts'
import { freshDatabase, onPostgres, openApp, type TestApp } from '../support/app.ts'
import { scaleOf } from '../support/scale.ts'
import { administer } from '../support/services.ts'

const USERS = scaleOf('layers over HTTP').size
/** The time limit of the test, which grows with the number of users. */
const SECONDS = 60 + USERS / 40
/** The number of concurrent checks. */
const CONCURRENCY = 64

type Experiment = { id: number; key: string; variants: Record<string, number> }
type Check = { user: string; answer: Record<string, { variant_id: number }> }

onPostgres(`a layer of two apps on one database, ${USERS} users`, () => {
  test(
    'never has a user in two unfinished runs, whatever changes while users come and go',
    async () => {
      const environment = await freshDatabase('postgres')
      const apps = [await openApp('postgres', environment), await openApp('postgres', environment)]
      const [{ api }] = apps as [TestApp]
      const layer = (await api.ok('POST', '/api/layers', { name: 'shared' })).id
      const experiments: Experiment[] = []
      const share = (experiment: Experiment, percent: number) =>
        api.ok('PUT', `/api/layers/${layer}/experiments/${experiment.id}`, { percent })
      for (const percent of [40, 30, 20, 0]) {
        const experiment = await api.makeExperiment({ control: 50, treatment: 50 })
        await share(experiment, percent)
        await api.ok('POST', `/api/experiments/${experiment.id}/start`)
        experiments.push(experiment)
      }
      const [a, b, c, d] = experiments as [Experiment, Experiment, Experiment, Experiment]
      const does = (verb: string, { id }: Experiment, body = {}) =>
        api.ok('POST', `/api/experiments/${id}/${verb}`, body)

      const checks: Check[] = []
      const began = performance.now()
      /** Makes a check of all experiments for each of these users, on the two apps in turn. */
      async function checkAll(users: readonly string[]) {
        const waiting = users.values()
        const asking = Array.from({ length: CONCURRENCY }, async (_, index) => {
          for (const user of waiting) {
            const { api } = apps[(index + checks.length) % 2] as TestApp
            const answer = await api.ok('POST', '/api/experiments/check-eligibility', {
              user_id: user,
              experiment_ids: experiments.map(({ id }) => id),
              attributes: {},
            })
            checks.push({ user, answer: answer.eligible_experiment_ids })
          }
        })
        await Promise.all(asking)
      }
      const users = (prefix: string, count: number) => Array.from({ length: count }, (_, user) => `${prefix}_${user}`)
      const early = users('early', USERS * 0.3)
      const between = users('between', USERS * 0.5)
      const late = users('late', USERS * 0.2)

      await checkAll(early)
      await expectShares(environment, 'early', early.length, { [a.id]: 40, [b.id]: 30, [c.id]: 20, [d.id]: 0 })

      // Everything changes while users come, some of them for the second or third time.
      const some = (of: readonly string[], part: number) => of.filter((_, index) => index % 4 === part)
      const checking = checkAll(
        [0, 1, 2, 3].flatMap((part) => [...some(between, part), ...some(early, part), ...some(between, part)]),
      )
      const moves = [
        () => share(a, 10),
        () => share(d, 35),
        () => share(b, 35),
        () => does('pause', c),
        () => share(c, 5),
        () => share(a, 15),
        () => does('complete', b),
        () => share(d, 60),
        () => share(b, 20),
        () => does('runs', b, { confirm: b.key }),
        () => does('resume', c),
        () => does('runs', a, { confirm: a.key }),
        () => share(d, 20),
        () => share(c, 45),
      ]
      const total = early.length + 2 * between.length
      const before = checks.length
      for (const [index, move] of moves.entries()) {
        while (checks.length - before < (total * (index + 1)) / (moves.length + 4))
          await new Promise((resolve) => setTimeout(resolve, 5))
        await move()
      }
      const cameAfterwards = total - (checks.length - before)
      await checking
      const last = { [a.id]: 15, [b.id]: 20, [c.id]: 45, [d.id]: 20 }
      await checkAll(late)
      const seconds = (performance.now() - began) / 1000
      await expectShares(environment, 'late', late.length, last)

      const figures = await readFigures(environment, layer)
      console.log(
        `layer over HTTP: ${USERS} users, ${checks.length} checks of ${experiments.length} experiments on 2 apps in ${seconds.toFixed(1)} s, ` +
          `${cameAfterwards} checks after the last of ${moves.length} moves; ${figures.assignments} assignments, ` +
          `${figures.in_several} users in several runs one after another, in two at once: ${figures.overlaps}, still: ${figures.in_two}`,
      )
      expect(figures.in_two).toBe(0)
      expect(figures.overlaps).toBe(0)
      expect(figures.in_several).toBeGreaterThan(0)
      expect(cameAfterwards).toBeGreaterThan(0)
      await expectStored(environment, checks)
      await Promise.all(apps.map((app) => app.close()))
    },
    SECONDS * 1000,
  )
})

type Environment = { DATABASE_URL: string }

/**
 * Expects that users who came while nothing changed are in each experiment by its share, half of them in each variant.
 */
async function expectShares(
  { DATABASE_URL }: Environment,
  prefix: string,
  users: number,
  percents: Record<number, number>,
) {
  const rows = await administer<{ experiment_id: number; count: number; control: number }>(
    `select r.experiment_id, count(*)::int as count, count(*) filter (where v.is_control)::int as control
     from assignments a join runs r on r.id = a.run_id join variants v on v.id = a.variant_id
     where a.user_id like '${prefix}\\_%' group by r.experiment_id`,
    DATABASE_URL,
  )
  const scores = Object.entries(percents).flatMap(([id, percent]) => {
    const found = rows.find((row) => row.experiment_id === Number(id)) ?? { count: 0, control: 0 }
    if (percent === 0) return found.count
    return [binomialZ(found.count, users, percent / 100), binomialZ(found.control, found.count, 0.5)]
  })
  console.log(
    `${users} ${prefix} users, shares ${Object.values(percents).join(' / ')}: z of each share and of its control`,
    scores.map((z) => z.toFixed(2)).join(' '),
  )
  for (const z of scores) expect(Math.abs(z)).toBeLessThan(4)
}

/** Counts, in the database, the assignments of a layer and the users in several runs. */
async function readFigures({ DATABASE_URL }: Environment, layer: number) {
  const [figures] = await administer<{ assignments: number; in_several: number; in_two: number; overlaps: number }>(
    `with held as (
       select a.user_id, a.run_id, a.assigned_at, r.ended_at
       from assignments a join runs r on r.id = a.run_id join experiments e on e.id = r.experiment_id
       where e.layer_id = ${layer}),
     per_user as (
       select h.user_id, count(*) as runs, count(*) filter (where h.ended_at is null) as unfinished
       from held h group by h.user_id)
     select (select count(*) from held)::int as assignments,
       (select count(*) from per_user p where p.runs > 1)::int as in_several,
       (select count(*) from per_user p where p.unfinished > 1)::int as in_two,
       -- at any time: assigned to a run while one that they were assigned to before had not ended
       (select count(*) from held one join held other on other.user_id = one.user_id and other.run_id <> one.run_id
         where one.assigned_at <= other.assigned_at and (one.ended_at is null or one.ended_at > other.assigned_at)
       )::int as overlaps`,
    DATABASE_URL,
  )
  if (!figures) throw new Error('The query gave no row')
  return figures
}

/** Expects that every answered variant is stored. */
async function expectStored({ DATABASE_URL }: Environment, checks: readonly Check[]) {
  const rows = await administer<{ user_id: string; variant_id: number }>(
    'select a.user_id, a.variant_id from assignments a',
    DATABASE_URL,
  )
  const stored = new Set(rows.map((row) => `${row.user_id} ${row.variant_id}`))
  const answered = checks.flatMap(({ user, answer }) =>
    Object.values(answer).map(({ variant_id }) => `${user} ${variant_id}`),
  )
  expect(answered.filter((each) => !stored.has(each))).toEqual([])
}
