import type { EntityManager } from '@mikro-orm/sql'
import { sql } from 'kysely'
import { execute } from '../database/sql.ts'
import { type Experiment, type Run, Variant } from '../experiments/entity.ts'
import type { SentAnswer } from './frozen.ts'

/** Warns readers of results of what the statistics do not tell: how the experiment was set up, ended and reopened. */

/** The history of a run beside its statistics. `shipped`: the variant that everybody gets since the end of the run. */
export type RunHistory = { reopened: readonly string[]; shipped: Variant | null }

/** Reads what `withRunWarnings` needs. @param run null: the experiment has no run */
export async function readHistory(em: EntityManager, experiment: Experiment, run: Run | null): Promise<RunHistory> {
  const { shipped_variant_id: shippedId, ended_at: endedAt } = experiment
  const isLast = endedAt !== null && run?.ended_at?.getTime() === endedAt.getTime()
  const [reopened, shipped] = await Promise.all([
    reopenedWarnings(em, run),
    isLast && shippedId !== null ? em.findOne(Variant, shippedId) : null,
  ])
  return { reopened, shipped }
}

/** Puts warnings before those of an answer. */
export function withRunWarnings(sent: SentAnswer, { reopened, shipped }: RunHistory): SentAnswer {
  const { outcome, variant_id: variantId, variant_name: variantName } = sent.decision
  const isOther = shipped !== null && outcome === 'ship' && variantId !== shipped.id
  const warnings = [
    ...(isOther ? [`${shipped.name} is shipped to everybody, and not ${variantName}, which the decision names.`] : []),
    ...reopened,
  ]
  return { ...sent, warnings: [...warnings, ...sent.warnings] }
}

/** Times are in milliseconds since 1970, UTC. */
type Reopening = { completed_at: number; reopened_at: number; actor: string }

/**
 * Writes a warning for each time at which a run was reopened: whoever reopens a run knows its figures.
 * @param run null: the experiment has no run
 */
async function reopenedWarnings(em: EntityManager, run: Run | null): Promise<string[]> {
  if (run === null) return []
  const reopenings = await execute(
    em,
    sql<Reopening>`
      select (extract(epoch from (l.before ->> 'ended_at')::timestamptz) * 1000)::float8 as completed_at,
        (extract(epoch from l.at) * 1000)::float8 as reopened_at, l.actor
      from audit_log l
      where l.subject = 'runs' and l.subject_id = ${String(run.id)} and l.action = 'update'
        and l.before ->> 'ended_at' is not null and l.after ->> 'ended_at' is null
      order by l.id`,
  )
  return reopenings.map(
    ({ completed_at, reopened_at, actor }) =>
      `The run was completed at ${textOf(completed_at)} and reopened at ${textOf(reopened_at)} by ${actor}, ` +
      'who may have known the figures: a run that goes on until its figures please finds differences that do not exist.',
  )
}

const textOf = (time: number) => new Date(time).toISOString()
