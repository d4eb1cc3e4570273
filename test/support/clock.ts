import { onTestFinished } from 'vitest'

/**
 * Sets the clocks of this process ahead until the test has finished, so that the entries of its caches expire at once.
 * Timers, PostgreSQL and Redis keep their own time.
 */
export function skipTime(milliseconds: number) {
  const [dateNow, performanceNow] = [Date.now, performance.now]
  Date.now = () => dateNow() + milliseconds
  performance.now = () => performanceNow.call(performance) + milliseconds
  onTestFinished(() => {
    Date.now = dateNow
    performance.now = performanceNow
  })
}
