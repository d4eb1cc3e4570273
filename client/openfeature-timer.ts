export type Timer = ReturnType<typeof setTimeout>

/** A timer that keeps no Node process running; browsers' are numbers, with nothing to let go of. */
export function startTimer(listener: () => void, milliseconds: number): Timer {
  const timer: Timer & { unref?: () => void } = setTimeout(listener, milliseconds)
  timer.unref?.()
  return timer
}
