export type Timer = ReturnType<typeof setTimeout>

/** A timer that keeps no Node process running; browsers' are numbers, with nothing to let go of. */
export function startTimer(listener: () => void, milliseconds: number): Timer {
  const timer: unknown = setTimeout(listener, milliseconds)
  if (typeof timer === 'object' && timer !== null && 'unref' in timer && typeof timer.unref === 'function')
    timer.unref()
  return timer as Timer
}
