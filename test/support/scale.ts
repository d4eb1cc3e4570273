/**
 * The sizes of the tests that find more the longer they run, called stories. `npm test` runs each story at its quick
 * size, `npm run test:soak` at the size that takes minutes. TEST_SIZE and TEST_SEED replace size and seed for a single
 * file.
 */
type Story = {
  file: string
  /** The objects that the size counts. */
  of: string
  quick: number
  soak: number
  /** Missing if nothing is drawn at random, or the source of randomness takes no seed. */
  seed?: number
}

export const stories = {
  'never flips at scale': {
    file: 'test/promises/never-flips-at-scale.test.ts',
    of: 'operations on two processes',
    quick: 6000,
    soak: 200_000,
    seed: 1,
  },
  'events survive': {
    file: 'test/promises/events-survive.test.ts',
    of: 'kills of processes, PostgreSQL and Redis',
    quick: 3,
    soak: 24,
    seed: 1,
  },
  'layers over HTTP': {
    file: 'test/promises/layers.test.ts',
    of: 'users of one layer',
    quick: 2000,
    soak: 100_000,
  },
  'layers by computation': {
    file: 'test/evaluation/layers.test.ts',
    of: 'users of one layer',
    quick: 25_000,
    soak: 100_000,
  },
  aliases: {
    file: 'test/users/alias.test.ts',
    of: 'random sequences of logins on each database, compared with a model',
    quick: 30,
    soak: 1000,
    seed: 20_261,
  },
  explanations: {
    file: 'test/promises/explanations.test.ts',
    of: 'explanations of what was served',
    quick: 500,
    soak: 10_000,
    seed: 7,
  },
  'flags agree': {
    file: 'test/promises/flags-agree.test.ts',
    of: 'users of random flags and experiments',
    quick: 300,
    soak: 10_000,
    seed: 11,
  },
  logins: {
    file: 'test/promises/login.test.ts',
    of: 'people who sign up, come back, own two devices and undo joins',
    quick: 105,
    soak: 10_000,
    seed: 3,
  },
  'layer fences': {
    file: 'test/experiments/layer-fence.test.ts',
    of: 'users per process while shares swing',
    quick: 150,
    soak: 600,
  },
  'sample ratios': {
    file: 'test/analysis/sample-ratio-grid.test.ts',
    of: 'simulated runs of each allocation, looked at 100 times',
    quick: 8,
    soak: 1000,
    seed: 22,
  },
  'rates agree': {
    file: 'test/analysis/rates.test.ts',
    of: 'random 2x2 tables that the documented answer and the full analysis judge alike; at the large size also all up to 40 users',
    quick: 1500,
    soak: 100_000,
    seed: 31,
  },
  guardrails: {
    file: 'test/analysis/guardrails.test.ts',
    of: 'simulated runs of each guardrail that is worse by exactly its margin',
    quick: 40,
    soak: 5000,
    seed: 64,
  },
  trust: {
    file: 'test/results/trust.test.ts',
    of: 'users of a client that loses exposures',
    quick: 3000,
    soak: 15_000,
  },
  'results by R': {
    file: 'test/results/witness/witness.test.ts',
    of: 'databases whose results base R computes again',
    quick: 1,
    soak: 2,
  },
  totals: {
    file: 'test/totals/property.test.ts',
    of: 'random scenarios on PostgreSQL, a quarter as many on the embedded database',
    quick: 2,
    soak: 40,
    seed: 1,
  },
  conditions: {
    file: 'test/evaluation/condition.test.ts',
    of: 'random conditions, compared with GrowthBook',
    quick: 20_000,
    soak: 500_000,
    seed: 1,
  },
  decoder: {
    file: 'test/assignments/decode.test.ts',
    of: 'bodies that the decoder of checks and the schema read alike',
    quick: 25_000,
    soak: 1_000_000,
    seed: 17,
  },
  'bad input': {
    file: 'test/bad-input/bad-input.test.ts',
    of: 'rounds of bad requests to every route',
    quick: 1,
    soak: 4,
    seed: 20_260_101,
  },
  'bad input to tRPC': {
    file: 'test/bad-input/trpc.test.ts',
    of: 'rounds of bad calls of every procedure',
    quick: 1,
    soak: 4,
    seed: 7,
  },
  laboratory: {
    file: 'test/lab/laboratory.test.ts',
    of: 'simulated experiments of the cheapest scenario',
    quick: 5000,
    soak: 20_000,
    seed: 20_261_126,
  },
} as const satisfies Record<string, Story>

export type StoryName = keyof typeof stories

/** True in `npm run test:soak`. */
export const isSoak = process.env.TEST_SCALE === 'soak'

/** Returns the size and the seed of a story in this run. */
export function scaleOf(name: StoryName): { size: number; seed: number } {
  const story: Story = stories[name]
  return {
    size: Number(process.env.TEST_SIZE ?? (isSoak ? story.soak : story.quick)),
    seed: Number(process.env.TEST_SEED ?? story.seed ?? 1),
  }
}
