import type { Watch } from '../../server/definitions/watch.ts'
import type { TestApp } from './app.ts'

const real = new WeakMap<Watch, Pick<Watch, 'snapshot' | 'refresh'>>()

/** Keeps a process on a snapshot until its own fence makes it look again. */
export function holdBack(app: TestApp, held = app.platform.definitions.watch.snapshot()) {
  const { watch } = app.platform.definitions
  const { snapshot, refresh } = real.get(watch) ?? watch
  real.set(watch, { snapshot, refresh })
  let looked = false
  Object.assign(watch, {
    snapshot: () => (looked ? snapshot() : held),
    refresh: () => {
      looked = true
      return refresh()
    },
  })
}

/** Lets it see again what it would. */
export function release(app: TestApp) {
  const { watch } = app.platform.definitions
  Object.assign(watch, real.get(watch))
}
