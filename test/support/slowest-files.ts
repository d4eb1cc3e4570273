import { relative } from 'node:path'
import type { Reporter, TestModule } from 'vitest/node'

const SHOWN = 12

/** Prints the 12 files that took the most time, set-up included, after a run of more files. */
export default class SlowestFiles implements Reporter {
  onTestRunEnd(modules: readonly TestModule[]) {
    if (modules.length <= SHOWN) return
    const files = modules.map((module) => ({ path: relative('.', module.moduleId), ...seconds(module) }))
    const sum = files.reduce((total, file) => total + file.total, 0)
    const slowest = files.sort((a, b) => b.total - a.total).slice(0, SHOWN)
    console.log(`\nThe ${SHOWN} slowest of ${files.length} files, which took ${sum.toFixed(0)} s one after another:`)
    for (const { path, total, setUp } of slowest)
      console.log(`${total.toFixed(1).padStart(7)} s  ${path} (set-up ${setUp.toFixed(1)} s)`)
  }
}

/** Sums the time of a file. The set-up is the time outside its tests, such as imports and hooks. */
function seconds(module: TestModule) {
  const { environmentSetupDuration, prepareDuration, collectDuration, setupDuration, duration } = module.diagnostic()
  const total = environmentSetupDuration + prepareDuration + collectDuration + setupDuration + duration
  let tests = 0
  for (const test of module.children.allTests()) tests += test.diagnostic()?.duration ?? 0
  return { total: total / 1000, setUp: Math.max(0, total - tests) / 1000 }
}
