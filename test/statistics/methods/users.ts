import {
  dailySums,
  type ExposureResult,
  exposedSums,
  type UserMetric,
} from '../../../server/statistics/reference/exposure.ts'

type Rows = {
  assignments: { user: string; variant: string; at: string }[]
  events: { user: string; name: string; value: number; at: string; event_id?: string }[]
  variants: string[]
  metric: { type: UserMetric['type']; event: string; window_hours: number | null; require_complete_window: boolean }
}

const rowsOf = ({ assignments, events, variants, metric }: Rows) =>
  [
    assignments.map(({ user, variant, at }) => ({ user, variant, at: Date.parse(at) })),
    events.map(({ user, name, value, at, event_id }) => ({
      user,
      type: name,
      value,
      at: Date.parse(at),
      id: event_id ?? null,
    })),
    variants,
    {
      type: metric.type,
      event: metric.event,
      windowMs: metric.window_hours === null ? null : metric.window_hours * 3_600_000,
      requireCompleteWindow: metric.require_complete_window,
    },
  ] as const

const sumsByVariant = ({ variants }: ExposureResult) =>
  Object.fromEntries([...variants].map(([variant, { n, sum, sumSq }]) => [variant, { n, sum, sum_sq: sumSq }]))

export const users = {
  exposure(input: Rows & { as_of: string }) {
    const result = exposedSums(...rowsOf(input), Date.parse(input.as_of))
    return { variants: sumsByVariant(result), crossovers: result.crossovers, immature: result.immature }
  },

  daily_cumulative(input: Rows & { day_ends: string[] }) {
    return {
      days: dailySums(
        ...rowsOf(input),
        input.day_ends.map((end) => Date.parse(end)),
      ).map(sumsByVariant),
    }
  },
}
