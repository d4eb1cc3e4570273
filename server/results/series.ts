import { type EntityManager, IsolationLevel } from '@mikro-orm/sql'
import { cumulativeSeries, type Day, noveltySeries } from '../analysis/series.ts'
import { readClock } from '../definitions/queries.ts'
import { invalid } from '../errors.ts'
import { PRODUCTS, SUMS } from '../totals/counting.ts'
import { type DailyRow, readDaily, readSinceExposure } from './daily.ts'
import { declaredOf, gather } from './gather.ts'
import { getResults } from './schema.ts'
import type { GetSeries, ResultsSeries } from './series-schema.ts'
import { findRun, type Reporting, resolveQuery } from './service.ts'

/** How many days after the exposure are looked at. */
const NOVELTY_DAYS = 28

/** One metric over time, from what is recorded: capped values are left uncapped, since caps move from day to day. */
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
  const query = await resolveQuery(em, reporting, found, question)
  const wanted = input.metric ?? (input.event_type ? `event:${input.event_type}` : query.specs[0]?.key)
  const spec = query.specs.find(({ key }) => key === wanted) ?? query.documented
  if (spec.kind === 'quantile')
    throw invalid(`${spec.name} is a quantile, which cannot be followed from day to day`, 'metric')
  const plain = { ...spec, cap: null }
  const shown = {
    experiment_id: experiment.id,
    run: run?.number ?? null,
    metric: spec.key,
    time_zone: reporting.timeZone,
  }
  if (!run) return { ...shown, days: [], since_exposure: [], cost: { milliseconds: 0, users: 0 } }
  const declared = declaredOf(experiment)
  const { statistics, daily, since } = await em.transactional(
    async (em) => ({
      statistics: await gather(em, { ...query, specs: [plain], unfolded: [] }),
      daily: await readDaily(em, run, spec.measure, declared, reporting.timeZone),
      since: await readSinceExposure(
        em,
        run,
        spec.measure,
        declared,
        run.ended_at ?? (await readClock(em)),
        NOVELTY_DAYS,
      ),
    }),
    { isolationLevel: IsolationLevel.REPEATABLE_READ, readOnly: true },
  )
  const metric = { ...(statistics.metrics[0] as (typeof statistics.metrics)[number]), caps: null, cap: null }
  const days = cumulativeSeries(statistics, metric, daysOf(daily))
  return {
    ...shown,
    days,
    since_exposure: noveltySeries(statistics, metric, daysOf(since)).map(({ day, ...point }) => ({
      ...point,
      day: Number(day),
    })),
    cost: {
      milliseconds: Math.round(performance.now() - began),
      users: days.at(-1)?.variants.reduce((sum, { users }) => sum + users, 0) ?? 0,
    },
  }
}

function daysOf(rows: readonly DailyRow[]): Day[] {
  const days = new Map<string, Day>()
  for (const { day, variant_id, period, n, converted, ...amounts } of rows) {
    const known = days.get(day) ?? { day, cells: [] }
    known.cells.push({
      ...{ variant_id, period, n, converted },
      sums: SUMS.map((name) => amounts[name] as number),
      products: PRODUCTS.map(([one, other]) => amounts[`${one}_${other}`] as number),
    })
    days.set(day, known)
  }
  return [...days.values()]
}
