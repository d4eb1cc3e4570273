/**
 * Whole days until the slowest variant has its users, at least one, and whole weeks, which even out the days of the week.
 * @param needed users of each variant
 * @param allocation shares of any scale
 * @param dailyUsers who could take part, per day
 * @param traffic the share of them that does, 0..1
 * @returns null where a variant gets nobody
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
  const days = needed.reduce((longest, users, place) => {
    const daily = ((allocation[place] as number) / shares) * dailyUsers * traffic
    return Math.max(longest, users === 0 ? 0 : Math.ceil(users / daily - 1e-9))
  }, 1)
  return Number.isFinite(days) ? { days, weeks: Math.ceil(days / 7) } : { days: null, weeks: null }
}
