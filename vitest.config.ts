import { defineConfig } from 'vitest/config'
import { stories } from './test/support/scale.ts'

/** Files whose libraries keep providers, hooks and globals for the process: each has a process to itself. */
const ALONE = ['test/openfeature/**/*.test.ts']

/** `vitest run --mode soak`, which is `npm run test:soak`, runs only the files that have a larger size. */
export default defineConfig(({ mode }) => {
  const isSoak = mode === 'soak'
  const include = isSoak ? Object.values(stories).map(({ file }) => file) : ['test/**/*.test.ts']
  return {
    test: {
      env: { TEST_SCALE: isSoak ? 'soak' : 'quick' },
      globalSetup: ['test/support/global-setup.ts'],
      reporters: ['default', isSoak ? 'test/support/soak-summary.ts' : 'test/support/slowest-files.ts'],
      testTimeout: 30_000,
      // A private PostgreSQL is made in some of them, on machines that are busy with the other tests.
      hookTimeout: 120_000,
      // Two cores: more files at once only wait for one another. In a soak run each story has the machine to itself.
      maxWorkers: isSoak ? 1 : 2,
      // Node loads the files as it does for `npm start`, without a transformation that makes computations slower.
      experimental: { viteModuleRunner: false },
      projects: [
        // Files share the modules that a worker has loaded: loading the server takes longer than most files.
        { extends: true, test: { name: 'shared', include, exclude: ALONE, isolate: false } },
        ...(isSoak ? [] : [{ extends: true as const, test: { name: 'alone', include: ALONE } }]),
      ],
    },
  }
})
