import type { Watch } from '../../server/definitions/watch.ts'
import type { TestApp } from './app.ts'

const real = new WeakMap<Watch, Pick<Watch, 'snapshot' | 'refresh'>>()

/** Keeps a process on an old snapshot until one of its own fences makes it refresh. */
export function holdBack(app: TestApp, held = app.platform.definitions.watch.snapshot()) {
  const { watch } = app.platform.definitions
  const { snapshot, refresh } = real.get(watch) ?? watch
  real.set(watch, { snapshot, refresh })
  let refreshed = false
  Object.assign(watch, {
    snapshot: () => (refreshed ? snapshot() : held),
    refresh: () => {
      refreshed = true
      return refresh()
    },
  })
}

/** Ends the effect of `holdBack`: the process sees the present snapshot again. */
export function release(app: TestApp) {
  const { watch } = app.platform.definitions
  Object.assign(watch, real.get(watch))
}
