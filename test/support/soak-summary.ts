import { relative } from 'node:path'
import type { Reporter, TestModule } from 'vitest/node'
import { stories } from './scale.ts'

/** Prints the outcome, size, seed and duration of each story after a soak run. */
export default class SoakSummary implements Reporter {
  onTestRunEnd(modules: readonly TestModule[]) {
    console.log('\nThe stories of this run:')
    for (const module of modules) {
      const path = relative('.', module.moduleId)
      const [name, story] = Object.entries(stories).find(([, { file }]) => file === path) ?? []
      if (!name || !story) continue
      const size = process.env.TEST_SIZE ?? story.soak
      const seed = process.env.TEST_SEED ?? ('seed' in story ? story.seed : 'none')
      const seconds = (module.diagnostic().duration / 1000).toFixed(0)
      console.log(
        `${module.state()}  ${name}: ${size} ${story.of} (seed ${seed}; npm test has ${story.quick}), ${seconds} s`,
      )
    }
  }
}
