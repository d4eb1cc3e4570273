import { answer } from '../../server/analysis/answer.ts'
import { byExclusion } from '../../server/analysis/exclusions.ts'
import { snakeCased } from '../../server/analysis/snake-case.ts'
import type { RecordedDecision, SummedMetric, UnitCounts } from '../../server/analysis/statistics.ts'
import { NO_TOTALS } from '../../server/analysis/sums.ts'
import { proportion, run, units } from './run-statistics.ts'

/** Makes the answers of docs/decisions-explained.md: three variants, three metrics, before and after the decision. */

const variant = (variantId: number, variantName: string) => ({
  variantId,
  variantName,
  isControl: variantId === 1,
  enabled: true,
})

const counts = (variantId: number, users: number, crossover: number): UnitCounts => {
  const all = { assigned: users + crossover, drawn: users + crossover, drawnExposed: users + crossover }
  return units(variantId, { ...all, users, excluded: { ...byExclusion(() => 0), crossover } })
}

/** Makes a mean metric. @param figures users, mean and standard deviation by variant id */
function mean(key: string, figures: [number, number, number][], given: Partial<SummedMetric>): SummedMetric {
  const sums = figures.map(([users, level, deviation], index) => ({
    ...NO_TOTALS,
    variantId: index + 1,
    period: 1,
    users: Math.round(users / 10),
    events: Math.round(users / 10),
    num: users * level,
    numNum: users * level ** 2 + (users - 1) * deviation ** 2,
  }))
  return { ...proportion(key, {}, given), kind: 'mean', sums }
}

const USERS: [number, number, number] = [20_412, 19_801, 19_774]
const [control, over50, always] = USERS

/** @param decisions what looks recorded before */
export const exampleAnswer = (decisions: RecordedDecision[] = []) =>
  snakeCased(
    answer(
      run({
        experiment: { id: 12, name: 'Free shipping' },
        variants: [variant(1, 'control'), variant(2, 'free over 50'), variant(3, 'always free')],
        periods: [{ period: 1, shares: { 1: 34, 2: 33, 3: 33 } }],
        units: [counts(1, control, 20), counts(2, over50, 19), counts(3, always, 23)],
        metrics: [
          proportion('purchase', { 1: 2041, 2: 2376, 3: 2028 }, { name: 'Completed purchase' }),
          mean(
            'revenue',
            [
              [control, 4.91, 18.2],
              [over50, 5.38, 18.9],
              [always, 4.71, 17.3],
            ],
            { name: 'Revenue per user', role: 'secondary' },
          ),
          proportion(
            'refund',
            { 1: 1224, 2: 1129, 3: 1191 },
            {
              name: 'Asked for a refund',
              role: 'guardrail',
              direction: 'decrease',
              margin: { type: 'relative', size: 0.1 },
            },
          ),
        ],
        decisions,
        startedAt: '2026-11-02T08:00:00.000Z',
        days: 22,
        question: { plannedUsers: 80_000, tuning: 80_000 },
      }),
    ),
  )
