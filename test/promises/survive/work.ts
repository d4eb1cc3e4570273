import { openDatabase } from '../../../server/database/orm.ts'
import { verifyTotals } from '../../../server/totals/verify.ts'
import { privatePostgres } from '../../support/private-services.ts'
import { resultsFault } from '../../totals/compare.ts'
import { readRaw } from '../../totals/raw.ts'
import { pause } from '../scale/call.ts'
import { openScalePlatform, type ScalePlatform } from '../scale/platform.ts'
import { createRandom, type Random } from '../scale/random.ts'
import { actAsClient, type Definitions, type Observed } from './clients.ts'

export type Outcome = { lines: string[]; faults: string[] }

const CLIENTS = 6
const USERS = 400
const TYPES = ['conversion', 'purchase', 'view']
/** The time between two kills, in milliseconds: at least `least`, and up to `more` in addition. */
const BETWEEN_MS = { least: 300, more: 2200 }
const DOWN_MS = 200

/**
 * Kills two processes, PostgreSQL and Redis at random under a load of events and checks. Then compares every answer
 * that clients got with what is stored, and the totals with a recomputation.
 */
export async function survive(options: { kills: number; seed: number }): Promise<Outcome> {
  const random = createRandom(options.seed)
  const postgres = await privatePostgres()
  try {
    const platform = await openScalePlatform(postgres.url, random)
    try {
      const definitions = await createDefinitions(platform)
      const observed: Observed = {
        acknowledged: new Map(),
        unacknowledged: new Set(),
        decisions: new Map(),
        checks: 0,
        faults: [],
      }
      let isOver = false
      const clients = Array.from({ length: CLIENTS }, (_, index) =>
        actAsClient(`client ${index}`, {
          platform,
          definitions,
          observed,
          random: createRandom(options.seed * 1000 + index),
          isOver: () => isOver,
        }),
      )
      const killed = await killAround(platform, postgres, random, options.kills)
      await pause(1000)
      isOver = true
      await Promise.all(clients)
      return await compareWithStored(platform, postgres.url, observed, killed)
    } finally {
      await platform.close()
    }
  } finally {
    postgres.remove()
  }
}

async function createDefinitions(platform: ScalePlatform): Promise<Definitions> {
  const experiments: Definitions['experiments'] = []
  for (const name of ['one', 'two', 'three']) {
    const { body } = await platform.insist('POST', '/api/experiments', { name })
    const variants: number[] = []
    for (const variant of ['control', 'treatment']) {
      const share = { name: variant, percent_allocated: 50 }
      variants.push((await platform.insist('POST', `/api/experiments/${body.id}/variants`, share)).body.id)
    }
    experiments.push({ id: body.id, variants })
  }
  return { experiments, users: USERS }
}

type Killed = { servers: number; PostgreSQL: number; Redis: number }

async function killAround(
  platform: ScalePlatform,
  postgres: Awaited<ReturnType<typeof privatePostgres>>,
  random: Random,
  kills: number,
): Promise<Killed> {
  const killed: Killed = { servers: 0, PostgreSQL: 0, Redis: 0 }
  for (let kill = 0; kill < kills; kill++) {
    await pause(BETWEEN_MS.least + random.below(BETWEEN_MS.more))
    const kind = random.weighted({ servers: 5, PostgreSQL: 3, Redis: 2 })
    killed[kind]++
    if (kind === 'servers') await platform.kill(random.pick(platform.instances))
    else {
      const service = kind === 'Redis' ? platform.redis : postgres
      service.signal('SIGKILL')
      await pause(DOWN_MS)
      await service.start()
    }
  }
  return killed
}

async function compareWithStored(
  platform: ScalePlatform,
  databaseUrl: string,
  observed: Observed,
  killed: Killed,
): Promise<Outcome> {
  const { acknowledged, faults } = observed
  const answers: { experimentId: number; type: string; body: unknown }[] = []
  const { body: experiments } = await platform.insist('GET', '/api/experiments')
  const ask = async () => {
    for (const { id } of experiments)
      for (const type of TYPES) {
        const { body } = await platform.insist('POST', `/api/experiments/${id}/results`, {
          conversion_event_type: type,
        })
        answers.push({ experimentId: id, type, body })
      }
  }
  await ask()
  const database = await openDatabase({ url: databaseUrl, pool: 2 })
  try {
    const query = <Row>(statement: string): Promise<Row[]> => database.orm.em.fork().execute(statement)
    const stored = await query<{ event_id: string; id: string; count: number }>(
      `select e.properties ->> 'event_id' as event_id, min(e.id)::text as id, count(*)::int as count
       from events e group by 1`,
    )
    const byEventId = new Map(stored.map((row) => [row.event_id, row]))
    let lost = 0
    for (const [eventId, id] of acknowledged) if (Number(byEventId.get(eventId)?.id) !== id) lost++
    const doubled = stored.filter(({ count }) => count > 1).length
    if (lost > 0) faults.push(`${lost} acknowledged events are not stored as they were answered`)
    if (doubled > 0) faults.push(`${doubled} events are stored more than once`)

    const assigned = await query<{ user_id: string; experiment_id: number; variant_id: number }>(
      `select a.user_id, r.experiment_id, a.variant_id from assignments a join runs r on r.id = a.run_id`,
    )
    const decisions = new Map(assigned.map((row) => [`${row.user_id} ${row.experiment_id}`, row.variant_id]))
    const flipped = [...observed.decisions].filter(([key, variant]) => decisions.get(key) !== variant).length
    if (flipped > 0) faults.push(`${flipped} decisions are not stored as they were answered`)

    const raw = await readRaw(query)
    const wrong = answers.flatMap(({ experimentId, type, body }) => resultsFault(raw, body, experimentId, type) ?? [])
    faults.push(...wrong)
    const difference = await verifyTotals(database.orm.em.fork())
    if (difference) faults.push(difference)
    const unknown = [...observed.unacknowledged].filter((eventId) => !acknowledged.has(eventId))
    const kept = unknown.filter((eventId) => byEventId.has(eventId)).length
    return {
      faults,
      lines: [
        `${acknowledged.size} events acknowledged, ${stored.length} stored: ${lost} lost, ${doubled} doubled`,
        `${unknown.length} events never acknowledged, of which ${kept} are stored, once`,
        `${observed.checks} checks, ${observed.decisions.size} decisions: ${flipped} not as answered`,
        `${answers.length} results, of which ${wrong.length} differ from a naive recomputation; verify: ${difference ?? 'clean'}`,
        `${killed.servers + killed.PostgreSQL + killed.Redis} kills: ${killed.servers} of processes, ${killed.PostgreSQL} of PostgreSQL, ${killed.Redis} of Redis`,
      ],
    }
  } finally {
    await database.close()
  }
}
