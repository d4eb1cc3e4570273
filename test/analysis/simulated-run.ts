import { analyse } from '../../server/analysis/analyse.ts'
import { byExclusion, type ExclusionReason } from '../../server/analysis/exclusions.ts'
import type { RunStatistics } from '../../server/analysis/statistics.ts'
import type { Random } from '../lab/random.ts'
import { proportion, run, units } from './run-statistics.ts'

/** Simulates runs as the platform counts them: users with two ids, bots, overrides and late exposures among them. */

export type SimulatedRun = {
  /** The shares of the variants in per cent, in each of the allocation periods, which are equally long. */
  periods: readonly (readonly number[])[]
  /** The number of ids that are drawn. */
  users: number
  /** The number of looks, equally spaced in users; another one follows after the end. */
  looks: number
  /** The probability that an exposure is lost, by variant. */
  lost: readonly number[]
  /** Users with two ids, bots and overrides are among the users; otherwise everybody is plain and exposed at once. */
  isMixed: boolean
}

type Person = {
  period: number
  variant: number
  isExposed: boolean
  hasTwoIds: boolean
  excluded: ExclusionReason | null
}

/** The shares of users who are excluded, and the delays up to which anything happens to a user, as a share of the run. */
const RATES = { twoIds: 0.05, bot: 0.02, override: 0.005, busy: 0.01, exposed: 0.8 }
const LATEST = 0.1

/** Simulates a run and hands the statistics of each look to `look`, until `look` returns true. */
export function simulate(random: Random, options: SimulatedRun, look: (statistics: RunStatistics) => boolean) {
  const { periods, users, looks, isMixed } = options
  const counts = periods.map((shares) => shares.map(() => ({ drawn: 0, exposed: 0, excluded: byExclusion(() => 0) })))
  const later: (() => void)[][] = Array.from({ length: users }, () => [])
  const people: Person[] = []
  const afterDelay = (now: number, change: () => void) =>
    later[now + 1 + Math.floor(random.uniform() * LATEST * users)]?.push(change)
  const add = (person: Person, sign: 1 | -1) => {
    const own = counts[person.period]?.[person.variant] as Counts
    own.drawn += sign
    if (!person.isExposed) return
    own.exposed += sign
    if (person.excluded) own.excluded[person.excluded] += sign
  }
  const change = (person: Person, given: Partial<Person>) => {
    add(person, -1)
    Object.assign(person, given)
    add(person, 1)
  }
  const expose = (person: Person) => {
    if (!random.chance(options.lost[person.variant] ?? 0)) change(person, { isExposed: true })
  }
  const join = (person: Person, second: Person) => {
    add(second, -1)
    const crosses = person.isExposed && second.isExposed && person.variant !== second.variant
    change(person, {
      isExposed: person.isExposed || second.isExposed,
      excluded: person.excluded ?? second.excluded ?? (crosses ? 'crossover' : null),
    })
  }
  const arrive = (now: number) => {
    const isBot = isMixed && random.chance(RATES.bot)
    const period = Math.floor((now / users) * periods.length)
    const variant = draw(random, periods[period] as readonly number[])
    const person: Person = { period, variant, isExposed: false, hasTwoIds: false, excluded: isBot ? 'attribute' : null }
    add(person, 1)
    if (!isMixed) return expose(person)
    if (random.chance(RATES.exposed)) afterDelay(now, () => expose(person))
    if (random.chance(RATES.override)) afterDelay(now, () => change(person, { excluded: 'override' }))
    if (random.chance(RATES.busy)) afterDelay(now, () => change(person, { excluded: person.excluded ?? 'rate' }))
    const first = people[Math.floor(random.uniform() * people.length)]
    if (first && !first.hasTwoIds && random.chance(RATES.twoIds)) {
      first.hasTwoIds = true
      afterDelay(now, () => join(first, person))
    } else people.push(person)
  }
  for (let user = 0; user < users; user++) {
    for (const change of later[user] as (() => void)[]) change()
    arrive(user)
    if ((user + 1) % (users / looks) === 0 && look(statisticsOf(periods, counts, false))) return
  }
  look(statisticsOf(periods, counts, true))
}

function draw(random: Random, shares: readonly number[]): number {
  let position = 100 * random.uniform()
  const variant = shares.findIndex((share) => {
    position -= share
    return position < 0
  })
  return variant < 0 ? shares.length - 1 : variant
}

type Counts = { drawn: number; exposed: number; excluded: Record<ExclusionReason, number> }

function statisticsOf(
  periods: SimulatedRun['periods'],
  counts: readonly (readonly Counts[])[],
  hasEnded: boolean,
): RunStatistics {
  const ids = (periods[0] ?? []).map((_, index) => index + 1)
  const rows = counts.flatMap((variants, period) =>
    variants.map(({ drawn, exposed, excluded }, index) => {
      const left = Object.values(excluded).reduce((sum, count) => sum + count, 0)
      const counted = {
        assigned: drawn,
        drawn,
        drawnExposed: exposed,
        users: exposed - left,
        excluded: { ...excluded },
      }
      return units(index + 1, { period: period + 1, ...counted })
    }),
  )
  const sharesOf = (shares: readonly number[]) => Object.fromEntries(ids.map((id, index) => [id, shares[index] ?? 0]))
  const begun = (_: unknown, index: number) => counts[index]?.some(({ drawn }) => drawn > 0)
  return run({
    variants: ids.map((id) => ({ variantId: id, variantName: `variant ${id}`, isControl: id === 1, enabled: true })),
    periods: periods.map((shares, index) => ({ period: index + 1, shares: sharesOf(shares) })).filter(begun),
    units: rows,
    metrics: [proportion('orders', Object.fromEntries(ids.map((id) => [id, 0])))],
    hasEnded,
  })
}

/** Tells whether the decision of a run is blocked at any of its looks. */
export function isEverBlocked(random: Random, options: SimulatedRun): boolean {
  let isBlocked = false
  simulate(random, options, (statistics) => {
    isBlocked = analyse(statistics).decision.outcome === 'blocked'
    return isBlocked
  })
  return isBlocked
}

/** Returns the number of exposed users at which a run is first blocked; null if it never is. */
export function usersUntilBlocked(random: Random, options: SimulatedRun): number | null {
  let users: number | null = null
  simulate(random, options, (statistics) => {
    if (statistics.hasEnded || analyse(statistics).decision.outcome !== 'blocked') return false
    users = statistics.units.reduce((sum, { drawnExposed }) => sum + drawnExposed, 0)
    return true
  })
  return users
}
