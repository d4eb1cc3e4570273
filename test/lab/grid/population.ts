import type { Totals } from '../../../server/analysis/sums.ts'
import type { Random } from '../random.ts'

/** Draws the values of simulated users straight into the sums that an analysis takes. */

export type ValueKind = 'proportion' | 'count' | 'revenue' | 'ratio'

/**
 * The users of one variant. A share of them has a value other than 0.
 * @property share in 0..1, before `uplift` and `spread`
 * @property uplift the relative change of that share, and thereby of the mean
 * @property spread divides the share and multiplies the values, so that the mean stays and the variance grows
 * @property hasCovariate users also have a value before exposure, which `uplift` and `spread` leave alone
 */
export type Population = {
  kind: ValueKind
  share: number
  uplift: number
  spread: number
  hasCovariate: boolean
}

/** The share of the users with a value before exposure who have one afterwards, without uplift and spread. */
const RETURNING = 0.6
/** The mean number of events of a user with an event, less the first. */
const MORE_EVENTS = 3
const [LOG_MEAN, LOG_SD] = [2, 1.2]
/** The mean number of views of a user, less the first; and the clicks per view of a user who clicks. */
const [MORE_VIEWS, CLICKS_PER_VIEW] = [2, 0.5]

/** The mean and the variance per user without uplift and spread. Those of a ratio are linearised. */
export function momentsOf(kind: ValueKind, share: number): { mean: number; variance: number } {
  if (kind === 'ratio') {
    const views = { mean: 1 + MORE_VIEWS, variance: MORE_VIEWS + MORE_VIEWS ** 2 }
    const squaredViews = views.variance + views.mean ** 2
    const clicks = share * (1 + CLICKS_PER_VIEW * views.mean)
    const squaredClicks =
      share *
      (CLICKS_PER_VIEW * views.mean + 1 + 2 * CLICKS_PER_VIEW * views.mean + CLICKS_PER_VIEW ** 2 * squaredViews)
    const product = share * (views.mean + CLICKS_PER_VIEW * squaredViews)
    const ratio = clicks / views.mean
    const covariance = product - clicks * views.mean
    const variance = squaredClicks - clicks ** 2 - 2 * ratio * covariance + ratio ** 2 * views.variance
    return { mean: ratio, variance: variance / views.mean ** 2 }
  }
  const [mean, square] =
    kind === 'proportion'
      ? [1, 1]
      : kind === 'count'
        ? [1 + MORE_EVENTS, MORE_EVENTS + MORE_EVENTS ** 2 + (1 + MORE_EVENTS) ** 2]
        : [Math.exp(LOG_MEAN + LOG_SD ** 2 / 2), Math.exp(2 * LOG_MEAN + 2 * LOG_SD ** 2)]
  return { mean: share * mean, variance: share * square - (share * mean) ** 2 }
}

/** Draws `n` users and adds them to the sums. */
export function addUsers(random: Random, population: Population, n: number, into: Totals): void {
  const { kind, share, uplift, spread, hasCovariate } = population
  const change = (1 + uplift) / spread
  if (kind === 'ratio') {
    addViewers(random, population, change, n, into)
    return
  }
  const before = hasCovariate ? random.binomial(n, share) : 0
  const both = random.binomial(before, RETURNING * change)
  const after = random.binomial(
    n - before,
    (share * change * (1 - (hasCovariate ? RETURNING : 0))) / (1 - (hasCovariate ? share : 0)),
  )
  into.users += both + after
  if (kind === 'proportion') {
    into.events += both + after
    addProducts(into, both + after, 1, 0, 0, 0)
    addProducts(into, before, 0, 0, 1, 0)
    into.numPreNum += both
    return
  }
  for (let user = 0; user < before + after; user++) {
    const trait = kind === 'count' ? random.exponential(1) : random.normal()
    const isAfter = user < both || user >= before
    const value = isAfter ? amountOf(random, kind, trait, spread) : 0
    into.events += isAfter ? 1 : 0
    addProducts(into, 1, value, 0, user < before ? amountOf(random, kind, trait, 1) : 0, 0)
  }
}

/** @param trait is shared by a user's values before and after exposure */
function amountOf(random: Random, kind: 'count' | 'revenue', trait: number, spread: number): number {
  if (kind === 'count') return 1 + random.poisson((spread * (1 + MORE_EVENTS) - 1) * trait)
  return spread * Math.exp(LOG_MEAN + LOG_SD * (0.8 * trait + 0.6 * random.normal()))
}

/** Draws users who all have views, the denominator, and of whom a share has clicks. */
function addViewers(
  random: Random,
  { share, spread, hasCovariate }: Population,
  change: number,
  n: number,
  into: Totals,
) {
  const clicksOf = (views: number) => 1 + random.poisson(CLICKS_PER_VIEW * views)
  for (let user = 0; user < n; user++) {
    const trait = random.exponential(MORE_VIEWS)
    const views = 1 + random.poisson(trait)
    const viewsBefore = hasCovariate ? 1 + random.poisson(trait) : 0
    const clicksBefore = hasCovariate && random.chance(share) ? clicksOf(viewsBefore) : 0
    const probability = !hasCovariate
      ? share * change
      : clicksBefore > 0
        ? RETURNING * change
        : (share * change * (1 - RETURNING)) / (1 - share)
    const clicks = random.chance(probability) ? spread * clicksOf(views) : 0
    if (clicks > 0) into.users++
    into.events++
    addProducts(into, 1, clicks, views, clicksBefore, viewsBefore)
  }
}

/** Adds `times` users with the same values. */
function addProducts(into: Totals, times: number, num: number, den: number, preNum: number, preDen: number) {
  into.num += times * num
  into.den += times * den
  into.preNum += times * preNum
  into.preDen += times * preDen
  into.numNum += times * num * num
  into.numDen += times * num * den
  into.numPreNum += times * num * preNum
  into.numPreDen += times * num * preDen
  into.denDen += times * den * den
  into.denPreNum += times * den * preNum
  into.denPreDen += times * den * preDen
  into.preNumPreNum += times * preNum * preNum
  into.preNumPreDen += times * preNum * preDen
  into.preDenPreDen += times * preDen * preDen
}
