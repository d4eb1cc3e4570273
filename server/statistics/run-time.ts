/**
 * Computes how long an experiment runs: the whole days, at least one, until the slowest variant has its users, and the
 * whole weeks that hold these days. Whole weeks give each day of the week the same share.
 * @param needed users of each variant
 * @param allocation shares of the variants, on any scale
 * @param dailyUsers users per day who could take part
 * @param traffic share of these users who take part, 0..1
 * @returns null if a variant gets no users
 * @throws RangeError for a negative figure, or lists of different lengths
 * @see docs/inference.md, "Power"
 */
export function runTime(
  needed: readonly number[],
  allocation: readonly number[],
  dailyUsers: number,
  traffic: number,
): { days: number | null; weeks: number | null } {
  if (needed.length === 0 || needed.length !== allocation.length)
    throw new RangeError('Every variant needs a number of users and an allocation')
  if (![...needed, ...allocation, dailyUsers, traffic].every((figure) => figure >= 0 && Number.isFinite(figure)))
    throw new RangeError('Users, allocations and traffic must not be negative')
  const shares = allocation.reduce((sum, share) => sum + share, 0)
  const days = needed.reduce((longest, users, index) => {
    const daily = ((allocation[index] as number) / shares) * dailyUsers * traffic
    return Math.max(longest, users === 0 ? 0 : Math.ceil(users / daily - 1e-9))
  }, 1)
  return Number.isFinite(days) ? { days, weeks: Math.ceil(days / 7) } : { days: null, weeks: null }
}
