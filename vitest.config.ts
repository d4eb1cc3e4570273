import { defineConfig } from 'vitest/config'

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    globalSetup: ['test/support/global-setup.ts'],
    reporters: ['default', 'test/support/slowest-files.ts'],
    testTimeout: 30_000,
    // A private PostgreSQL is made in some of them, on machines that are busy with the other tests.
    hookTimeout: 120_000,
    // Two cores: more files at once only wait for one another.
    maxWorkers: 2,
  },
})
