import fc from 'fast-check'
import { expect, test } from 'vitest'
import { simpleResults } from '../../server/statistics/simple-results.ts'
import { anyProportion, impossibleProportions } from './proportions.ts'

const options = { confidenceLevel: 0.95, significanceThreshold: 0.05, intervalMethod: 'wilson' } as const

function variant(variant_id: number, total_users: number, conversions: number, is_control = false) {
  return { variant_id, variant_name: `Variant ${variant_id}`, total_users, conversions, is_control }
}

const someVariants = fc
  .array(anyProportion({ maxExposed: 100_000 }), { minLength: 1, maxLength: 5 })
  .map((proportions) => proportions.map(({ exposed, converted }, index) => variant(index, exposed, converted)))

test('the simple results have exactly the documented fields, in the order of the variants', () => {
  const { variants, winner } = simpleResults({
    ...options,
    variants: [variant(7, 840, 126), variant(3, 840, 84, true)],
  })
  expect(winner).toEqual({ variant_id: 7, variant_name: 'Variant 7', relative_uplift: 50 })
  expect(variants).toEqual([
    {
      variant_id: 7,
      variant_name: 'Variant 7',
      conversions: 126,
      total_users: 840,
      conversion_rate: 15,
      confidence_interval: { lower: 12.74, upper: 17.57 },
      p_value: 0.0019,
      is_significant: true,
      relative_uplift: 50,
      is_control: false,
    },
    {
      variant_id: 3,
      variant_name: 'Variant 3',
      conversions: 84,
      total_users: 840,
      conversion_rate: 10,
      confidence_interval: { lower: 8.15, upper: 12.21 },
      p_value: null,
      is_significant: null,
      relative_uplift: null,
      is_control: true,
    },
  ])
})

test('the simple results of a small sample add an exact p-value, and still decide by the z-test', () => {
  const [, treatment] = simpleResults({ ...options, variants: [variant(1, 10, 1), variant(2, 10, 5)] }).variants
  expect(treatment).toMatchObject({ p_value: 0.051, is_significant: false, small_sample: true, exact_p_value: 0.1409 })
})

test('the control has no fields of a comparison', () => {
  const [control] = simpleResults({ ...options, variants: [variant(1, 10, 1), variant(2, 10, 5)] }).variants
  expect(control).not.toHaveProperty('small_sample')
  expect(control).not.toHaveProperty('exact_p_value')
})

test('the simple results contain only numbers or null as figures, and exactly one control, for any counts', () => {
  fc.assert(
    fc.property(someVariants, fc.constantFrom('wilson' as const, 'wald' as const), (variants, intervalMethod) => {
      const answer = simpleResults({ ...options, variants, intervalMethod })
      expect(JSON.parse(JSON.stringify(answer))).toEqual(answer)
      expect(answer.variants.filter((row) => row.is_control)).toHaveLength(1)
      for (const { conversion_rate, confidence_interval, total_users } of answer.variants) {
        expect(conversion_rate).toBeGreaterThanOrEqual(confidence_interval.lower)
        if (total_users > 0) expect(conversion_rate).toBeLessThanOrEqual(confidence_interval.upper)
      }
    }),
  )
})

test('the winner is the significant variant with the largest uplift above 0', () => {
  fc.assert(
    fc.property(someVariants, (variants) => {
      const answer = simpleResults({ ...options, variants })
      const better = answer.variants.filter((row) => row.is_significant && (row.relative_uplift ?? 0) > 0)
      const largest = Math.max(...better.map((row) => row.relative_uplift ?? 0))
      expect(answer.winner?.relative_uplift).toBe(better.length === 0 ? undefined : largest)
    }),
  )
})

test('the simple results decide significance before rounding', () => {
  const variants = [variant(1, 1000, 100), variant(2, 1000, 129)]
  const [, shown] = simpleResults({ ...options, variants }).variants
  expect(shown?.p_value).toBe(0.0417) // rounded from 0.041699
  const isSignificantAt = (significanceThreshold: number) =>
    simpleResults({ ...options, variants, significanceThreshold }).variants[1]?.is_significant
  expect(isSignificantAt(0.0417)).toBe(true)
  expect(isSignificantAt(0.04169)).toBe(false)
})

test('the first of two variants with the same uplift is the winner', () => {
  const { winner } = simpleResults({
    ...options,
    variants: [variant(1, 1000, 100, true), variant(2, 1000, 200), variant(3, 1000, 200)],
  })
  expect(winner?.variant_id).toBe(2)
})

test('the uplift is null for a treatment without users, and 0 if no user of the control converts', () => {
  const [, empty] = simpleResults({ ...options, variants: [variant(1, 100, 10), variant(2, 0, 0)] }).variants
  expect(empty).toMatchObject({ conversion_rate: 0, p_value: 1, is_significant: false, relative_uplift: null })
  const [, other] = simpleResults({ ...options, variants: [variant(1, 100, 0), variant(2, 100, 50)] }).variants
  expect(other).toMatchObject({ is_significant: true, relative_uplift: 0 })
})

test('the simple results keep additional fields of a variant', () => {
  const { variants } = simpleResults({ ...options, variants: [{ ...variant(1, 10, 5), color: 'blue' }] })
  expect(variants[0]?.color).toBe('blue')
})

test('over several periods, rates describe all users, and the comparison is made within periods', () => {
  // Everybody converts more in the second period, in which the treatment has more users.
  const periods = [
    { control: { exposed: 500, converted: 50 }, treatment: { exposed: 500, converted: 50 } },
    { control: { exposed: 200, converted: 100 }, treatment: { exposed: 800, converted: 400 } },
  ]
  const variants = [variant(1, 700, 150, true), variant(2, 1300, 450)]
  const { variants: pooled, winner } = simpleResults({ ...options, variants })
  expect(pooled[1]).toMatchObject({ p_value: 0, p_value_text: '< 0.0001', is_significant: true })
  expect(winner).not.toBeNull()
  const within = simpleResults({
    ...options,
    variants,
    periods: periods.map(({ control, treatment }) => ({ users: 1000, variants: [control, treatment] })),
  })
  expect(within.variants[1]).toMatchObject({
    conversion_rate: pooled[1]?.conversion_rate,
    confidence_interval: pooled[1]?.confidence_interval,
    p_value: 1,
    is_significant: false,
    relative_uplift: 0,
  })
  expect(within.winner).toBeNull()
})

test('one period changes nothing, and periods that cannot be compared leave nothing to say', () => {
  const variants = [variant(1, 100, 10, true), variant(2, 100, 25)]
  const counts = [
    { exposed: 100, converted: 10 },
    { exposed: 100, converted: 25 },
  ]
  const plain = simpleResults({ ...options, variants })
  expect(simpleResults({ ...options, variants, periods: [{ users: 200, variants: counts }] })).toEqual(plain)
  const [control, treatment] = counts as [(typeof counts)[0], (typeof counts)[0]]
  const none = { exposed: 0, converted: 0 }
  const apart = [
    { users: 100, variants: [control, none] },
    { users: 100, variants: [none, treatment] },
  ]
  expect(simpleResults({ ...options, variants, periods: apart }).variants[1]).toMatchObject({
    p_value: 1,
    is_significant: false,
    relative_uplift: null,
  })
})

test('the simple results of an experiment without variants are an error', () => {
  expect(() => simpleResults({ ...options, variants: [] })).toThrow('An experiment without variants has no results')
  expect(() => simpleResults({ ...options, variants: [] })).toThrow(RangeError)
})

test.each(impossibleProportions)(
  'the simple results reject $converted conversions of $exposed users',
  ({ exposed, converted }) => {
    const control = variant(1, 100, 10, true)
    expect(() => simpleResults({ ...options, variants: [control, variant(2, exposed, converted)] })).toThrow(RangeError)
    expect(() => simpleResults({ ...options, variants: [variant(1, exposed, converted)] })).toThrow(RangeError)
  },
)
