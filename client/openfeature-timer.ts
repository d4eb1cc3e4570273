export type Timer = ReturnType<typeof setTimeout>

/** Starts a timer that does not keep a Node process running. In browsers a timer is a number, without `unref`. */
export function startTimer(listener: () => void, milliseconds: number): Timer {
  const timer: Timer & { unref?: () => void } = setTimeout(listener, milliseconds)
  timer.unref?.()
  return timer
}
