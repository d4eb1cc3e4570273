import type { EntityManager } from '@mikro-orm/sql'
import { cumulativeSeries, type Day, noveltySeries } from '../analysis/series.ts'
import { snakeCased } from '../analysis/snake-case.ts'
import type { Look, SummedMetric } from '../analysis/statistics.ts'
import { pickSums } from '../analysis/sums.ts'
import { readClock } from '../definitions/queries.ts'
import { DomainError, invalid } from '../errors.ts'
import { columnOf } from '../totals/columns.ts'
import { type DailyRow, readDaily, readSinceExposure } from './daily.ts'
import { gather } from './gather.ts'
import { declaredOf } from './query.ts'
import { getResults } from './question-schema.ts'
import { inSnapshot, NO_CORRECTION } from './read.ts'
import { isPlanned, readRunningLooks } from './records.ts'
import { register } from './register.ts'
import { findRun, resolve } from './resolve.ts'
import type { GetSeries, ResultsSeries } from './series-schema.ts'
import type { Reporting } from './service.ts'
import { keyOfType } from './specs.ts'

/** The number of days after exposure that a series covers. */
const NOVELTY_DAYS = 28

/** Names the one metric of a series in an error about the list of a question. @throws the error */
function ofSeries(error: unknown): never {
  if (error instanceof DomainError && error.path?.[0] === 'metrics') throw invalid(error.message, 'metric')
  throw error
}

/**
 * Computes one metric over time from raw events. Caps are not applied, since they would move from day to day.
 * @throws DomainError BAD_REQUEST for a quantile or an unknown metric; NOT_FOUND for an unknown experiment or run
 */
export async function getSeries(em: EntityManager, reporting: Reporting, input: GetSeries): Promise<ResultsSeries> {
  const began = performance.now()
  const found = await findRun(em, input)
  const { experiment, run } = found
  const question = getResults.parse({
    experiment_id: input.experiment_id,
    run: input.run,
    confidence_level: input.confidence_level,
    ...(input.metric ? { metrics: [input.metric] } : {}),
    ...(input.event_type ? { event_types: [input.event_type], conversion_event_type: input.event_type } : {}),
  })
  const query = await register(
    em,
    reporting.totals,
    await resolve(em, reporting.timeZone, found, question).catch(ofSeries),
  )
  const key = input.metric ?? (input.event_type ? keyOfType(input.event_type) : query.specs[0]?.metric.key)
  const spec = query.specs.find(({ metric }) => metric.key === key) ?? query.documented
  if (spec.metric.kind === 'quantile')
    throw invalid(`${spec.metric.name} is a quantile, for which no series is computed; choose another metric`, 'metric')
  const uncapped = { ...spec, metric: { ...spec.metric, cap: null, floor: null } }
  const described = {
    experiment_id: experiment.id,
    run: run?.number ?? null,
    metric: spec.metric.key,
    time_zone: reporting.timeZone,
  }
  if (!run) return { ...described, days: [], since_exposure: [], cost: { milliseconds: 0, users: 0 } }
  const declared = declaredOf(experiment)
  const { statistics, looks, daily, since } = await inSnapshot(em, async (em) => ({
    statistics: await gather(em, { ...query, specs: [uncapped] }, NO_CORRECTION),
    looks: isPlanned(query.question, [spec.metric]) ? await readRunningLooks(em, run.id) : [],
    daily: await readDaily(em, run, spec.measure, declared, query.question.crossovers, reporting.timeZone),
    since: await readSinceExposure(
      em,
      run,
      spec.measure,
      declared,
      query.question.crossovers,
      run.ended_at ?? (await readClock(em)),
      NOVELTY_DAYS,
    ),
  }))
  const metric = statistics.metrics[0] as SummedMetric
  const lookOf = lastLookByDay(looks, reporting.timeZone)
  const days = snakeCased(cumulativeSeries(statistics, metric, daysOf(daily), lookOf))
  return {
    ...described,
    days,
    since_exposure: snakeCased(noveltySeries(statistics, metric, daysOf(since))).map(({ day, ...point }) => ({
      ...point,
      day: Number(day),
    })),
    cost: {
      milliseconds: Math.round(performance.now() - began),
      users: days.at(-1)?.variants.reduce((sum, { users }) => sum + users, 0) ?? 0,
    },
  }
}

/** Returns a function that finds the last look by the end of a day. @param looks in the order of time */
function lastLookByDay(looks: readonly Look[], timeZone: string): (day: string) => Look | null {
  const dayOf = new Intl.DateTimeFormat('en-CA', { timeZone, dateStyle: 'short' })
  const days = looks.map((look) => ({ look, day: dayOf.format(new Date(look.at)) }))
  return (day) => days.findLast((one) => one.day <= day)?.look ?? null
}

/** Groups rows by day, in the order of the rows. */
export function daysOf(rows: readonly DailyRow[]): Day[] {
  const days = new Map<string, Day>()
  for (const row of rows) {
    const { day, variant_id: variantId, period, n, converted } = row
    const known = days.get(day) ?? { day, cells: [] }
    known.cells.push({ variantId, period, n, converted, ...pickSums((name) => row[columnOf[name]]) })
    days.set(day, known)
  }
  return [...days.values()]
}
