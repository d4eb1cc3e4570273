import { describe, expect, test } from 'vitest'
import { analyse } from '../../server/analysis/analyse.ts'
import { byExclusion } from '../../server/analysis/exclusions.ts'
import { checkRatios } from '../../server/analysis/sample-ratios.ts'
import type { UnitCounts } from '../../server/analysis/statistics.ts'
import { proportion, run, units } from './run-statistics.ts'

const crossing = (users: number, crossover: number): Partial<UnitCounts> => ({
  assigned: users,
  drawn: users,
  drawnExposed: users,
  users: users - crossover,
  excluded: { ...byExclusion(() => 0), crossover },
})

const exposed = (assigned: number, exposed: number): Partial<UnitCounts> => ({
  assigned,
  drawn: assigned,
  drawnExposed: exposed,
  users: exposed,
})

describe('lost exposures', () => {
  const losing = (control: number, treatment: number) =>
    run({ units: [units(1, exposed(2050, control)), units(2, exposed(2050, treatment))] })

  test('block when gross: 2,021 against 1,691 at 50/50', () => {
    const { decision, sampleRatio } = analyse(losing(2021, 1691))
    expect(sampleRatio.exposed.pValue).toBeLessThan(1e-7)
    expect(decision).toMatchObject({ outcome: 'blocked', reasons: [expect.stringContaining('the exposed users')] })
  })

  test('are told while they do not block yet, with the counts and both p-values', () => {
    const { decision, sampleRatio, warnings } = analyse(losing(2000, 1755))
    expect(sampleRatio.exposed).toMatchObject({ isMismatch: false, status: 'ok' })
    expect(sampleRatio.exposed.pValue).toBeLessThan(1e-4)
    expect(decision.outcome).not.toBe('blocked')
    expect(warnings.join(' ')).toContain(
      'The exposed users deviate from the allocation: 2,000 in control (1,878 expected), 1,755 in treatment (1,878 expected).',
    )
    expect(warnings.join(' ')).toContain(`is ${sampleRatio.exposed.sequentialPValue?.toPrecision(2)}`)
    expect(analyse(losing(1950, 1800)).warnings.join(' ')).not.toContain('deviate from the allocation')
  })

  test('are judged by the chi-square at the end only if it can be relied on: 4 of 20 users at 95/5 are chance', () => {
    const few = { periods: [{ period: 1, shares: { 1: 95, 2: 5 } }], hasEnded: true }
    const { assigned } = checkRatios(run({ ...few, units: [units(1, { users: 16 }), units(2, { users: 4 })] }))
    expect(assigned).toMatchObject({ isMismatch: false })
    expect(assigned.pValue).toBeLessThan(0.003)
    const many = checkRatios(run({ ...few, units: [units(1, { users: 1600 }), units(2, { users: 400 })] }))
    expect(many.assigned.isMismatch).toBe(true)
  })
})

describe('exclusions', () => {
  const NINETY = [{ period: 1, shares: { 1: 90, 2: 10 } }]

  test('of crossovers are as many from each variant at 90/10, which is no mismatch although the rates differ', () => {
    const clean = { periods: NINETY, units: [units(1, crossing(9000, 45)), units(2, crossing(1000, 45))] }
    for (const hasEnded of [false, true])
      expect(checkRatios(run({ ...clean, hasEnded })).exclusions.isMismatch).toBe(false)
    const broken = { periods: NINETY, units: [units(1, crossing(9000, 90)), units(2, crossing(1000, 10))] }
    for (const hasEnded of [false, true])
      expect(checkRatios(run({ ...broken, hasEnded })).exclusions.isMismatch).toBe(true)
  })

  test('are tested by an always-valid p-value while the run goes on', () => {
    const bots = (control: number, treatment: number, hasEnded: boolean) => {
      const excluded = (attribute: number) => ({ ...byExclusion(() => 0), attribute })
      const row = (id: number, attribute: number) =>
        units(id, { ...crossing(5000, 0), users: 5000 - attribute, excluded: excluded(attribute) })
      return checkRatios(run({ units: [row(1, control), row(2, treatment)], hasEnded })).exclusions
    }
    // The chi-square alone would block, though one of 100 looks finds as much by chance.
    expect(bots(100, 155, false)).toMatchObject({ isMismatch: false, pValue: expect.closeTo(0.00048, 5) })
    expect(bots(100, 155, true).isMismatch).toBe(true)
    expect(bots(100, 250, false).isMismatch).toBe(true)
  })

  test('are compared within allocation periods: a rate that rises while the shares change is no mismatch', () => {
    const [early, late] = [0.01, 0.1]
    const row = (variantId: number, period: number, users: number, rate: number) =>
      units(variantId, {
        ...crossing(users, 0),
        period,
        users: users * (1 - rate),
        excluded: { ...byExclusion(() => 0), attribute: users * rate },
      })
    const periods = [
      { period: 1, shares: { 1: 50, 2: 50 } },
      { period: 2, shares: { 1: 20, 2: 80 } },
    ]
    const counts = [row(1, 1, 5000, early), row(2, 1, 5000, early), row(1, 2, 2000, late), row(2, 2, 8000, late)]
    for (const hasEnded of [false, true])
      expect(checkRatios(run({ periods, units: counts, hasEnded })).exclusions.isMismatch).toBe(false)
  })
})

describe('a treatment that was switched off', () => {
  const variants = ['control', 'first', 'second'].map((variantName, index) => ({
    variantId: index + 1,
    variantName,
    isControl: index === 0,
    enabled: index !== 2,
  }))
  const periods = [
    { period: 1, shares: { 1: 34, 2: 33, 3: 33 } },
    { period: 2, shares: { 1: 34, 2: 33, 3: 0 } },
  ]
  const users = (one: number, two: number, three: number, late = 0) => [
    units(1, { users: one }),
    units(2, { users: two }),
    units(3, { users: three }),
    units(1, { users: one, period: 2 }),
    units(2, { users: two, period: 2 }),
    ...(late > 0 ? [units(3, { users: late, period: 2 })] : []),
  ]
  const metrics = [proportion('orders', { 1: 0, 2: 0, 3: 0 })]

  test('has no share in its later periods: the draw is tested among all variants', () => {
    const { assigned } = checkRatios(run({ variants, periods, metrics, units: users(3400, 3300, 3300) }))
    expect(assigned).toMatchObject({ status: 'ok', degreesOfFreedom: 3, isMismatch: false })
    const lost = checkRatios(run({ variants, periods, metrics, units: users(3400, 3300, 2600) }))
    expect(lost.assigned.isMismatch).toBe(true)
    const late = checkRatios(run({ variants, periods, metrics, units: users(3400, 3300, 3300, 1) }))
    expect(late.assigned).toMatchObject({ status: 'unexpected_variant', isMismatch: true })
  })

  test('does not make the exposures of the others a mismatch by its users who are exposed to nothing any more', () => {
    const counts = users(3400, 3300, 3300).map((row) => (row.variantId === 3 ? { ...row, drawnExposed: 100 } : row))
    expect(checkRatios(run({ variants, periods, metrics, units: counts })).exposed).toMatchObject({
      status: 'ok',
      isMismatch: false,
    })
  })
})
