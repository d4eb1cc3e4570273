import { events, first, lifeCycle, planning, results } from './story/experiment.ts'
import { flags, ofrep, operators } from './story/flags.ts'
import type { Step } from './story/step.ts'
import { layers, metrics, segments, targeting, users } from './story/targeting.ts'

/**
 * The story that the examples of openapi.json tell: requests to a new platform, in this order. Each operation occurs at
 * least once. Ids in it are those that a new platform gives. `npm run docs` plays the story and records the answers.
 */
export const STORY: readonly Step[] = [
  ...first,
  ...events,
  ...results,
  ...planning,
  ...lifeCycle,
  ...users,
  ...segments,
  ...metrics,
  ...targeting,
  ...layers,
  ...flags,
  ...ofrep,
  ...operators,
]
