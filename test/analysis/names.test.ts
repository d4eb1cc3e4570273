import { expect, test } from 'vitest'
import { answer } from '../../server/analysis/answer.ts'
import { CONTROL, proportion, run, TREATMENT, units } from './run-statistics.ts'

/** Lists the paths of all objects that hold an id of a variant and no name. */
function unnamed(value: unknown, path = ''): string[] {
  if (typeof value !== 'object' || value === null) return []
  const fields = value as Record<string, unknown>
  const lacks =
    typeof (fields.variantId ?? fields.variant_id) === 'number' && !(fields.variantName ?? fields.variant_name)
  return [...(lacks ? [path] : []), ...Object.keys(fields).flatMap((key) => unnamed(fields[key], `${path}/${key}`))]
}

test('an answer names each variant beside its id: in decisions, metrics, segments and causes of a mismatch', () => {
  const orders = proportion('orders', { [CONTROL]: 100, [TREATMENT]: 180 })
  const lost = units(TREATMENT, { users: 200 })
  const given = answer(
    run({
      units: [units(CONTROL, { users: 2000 }), units(TREATMENT, { users: 1200 })],
      suspects: [{ by: 'day', value: '2026-01-01', counts: [units(CONTROL), lost] }],
      metrics: [orders],
      segments: [{ value: 'US', units: [units(CONTROL), lost], metrics: [{ key: 'orders', sums: orders.sums }] }],
    }),
  )
  expect(given.sampleRatio.causes[0]?.variants.map(({ variantName }) => variantName)).toEqual(['control', 'treatment'])
  expect(given.segments?.[0]?.metrics[0]?.comparisons[0]?.variantName).toBe('treatment')
  expect(given.decision.verdicts[0]?.variantName).toBe('treatment')
  expect(unnamed(given)).toEqual([])
})
