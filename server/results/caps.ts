import type { EntityManager } from '@mikro-orm/sql'
import { type RawBuilder, sql } from 'kysely'
import { execute } from '../database/sql.ts'
import type { MeasureDefinition } from '../metrics/measure-definition.ts'
import { counted } from '../totals/counting.ts'
import { planForChunks } from '../totals/progress.ts'
import { type Capped, type CapRule, capValues, type Values } from './cap-values.ts'
import { chunksOf } from './chunks.ts'
import { asMeasures, rawFilterOf, type View } from './raw.ts'
import type { MeasuredRun } from './totals.ts'
import { countedUnits, type UsersAsked, usersNow } from './users.ts'

/**
 * Reads values per user and caps them at quantiles of all users' values. Every event may move a cap, so totals cannot
 * hold sums of capped values.
 */

const AMOUNTS = ['num', 'pre_num']
const RATIO_AMOUNTS = [...AMOUNTS, 'den', 'pre_den']
const amountsOf = ({ parts }: MeasureDefinition) => (parts.length === 2 ? RATIO_AMOUNTS : AMOUNTS)
const COUNTS = ['events', 'unusable', 'missing', 'exposing']

/** Selects the values of counted users for one measure. */
const valuesOf = (units: RawBuilder<unknown>, metrics: string, measure: MeasureDefinition) => sql<Values>`
  select u.variant_id, u.period, count(*)::int as n, (count(*) filter (where m.events > 0))::int as users,
    (count(*) filter (where m.events > 0 and m.exposing))::int as exposing,
    coalesce(sum(m.events), 0)::float8 as events, coalesce(sum(m.unusable), 0)::float8 as unusable,
    coalesce(sum(m.missing), 0)::float8 as missing,
    ${sql.join(
      amountsOf(measure).map(
        (name) => sql`json_agg(${sql.ref(`m.${name}`)}) filter (where m.num is not null) as ${sql.ref(name)}`,
      ),
    )}
  from ${units} u left join ${sql.table(metrics)} m on m.user_id = u.user_id group by u.variant_id, u.period`

/**
 * Reads the values that totals keep per user for one measure, and caps them.
 * @param asked the users; those with unfolded events are computed from raw events instead
 */
export async function readCapped(
  em: EntityManager,
  run: MeasuredRun,
  measureId: number,
  measure: MeasureDefinition,
  rule: CapRule,
  asked: UsersAsked,
): Promise<Capped> {
  await planForChunks(em)
  const names = [...COUNTS, ...amountsOf(measure)]
  const values = await execute(
    em,
    sql<Values>`
      with ${usersNow(run, measureId, names, asked)} ${valuesOf(sql`unit_now`, 'metric_now', measure)}`,
  )
  return capValues(values, rule)
}

/** Computes all values from raw events and caps them likewise. @param declared dimensions of the experiment */
export async function readCappedRaw(
  em: EntityManager,
  run: MeasuredRun,
  measure: MeasureDefinition,
  rule: CapRule,
  view: View,
  declared: readonly string[],
  asked: Omit<UsersAsked, 'userIds'>,
): Promise<Capped> {
  const chunks: Values[][] = []
  for await (const person of chunksOf(em, run))
    chunks.push(
      await execute(
        em,
        sql<Values>`
          with ${person}, ${counted(null, run.id, rawFilterOf(run, view, declared, asMeasures(run, [measure])))}
          ${valuesOf(countedUnits(asked), 'fresh_metric', measure)}`,
      ),
    )
  return capValues(chunks.flat(), rule)
}
