import type { ExperimentDefinition, VariantDefinition } from '../evaluation/definition.ts'
import type { Decision } from '../evaluation/evaluate.ts'
import type { Deciding } from './decide.ts'
import type { Remembered, RememberedRuns } from './memory.ts'
import { type Answer, type Check, mustExpose, settleStored, storedIn, subjectOf } from './settle.ts'

/** Answers checks from the memory of this process: nothing is looked up, drawn or stored. */

/**
 * Decides one experiment from memory.
 * @param stored the user's assignment in the experiment's current run
 * @returns null if something has to be looked up, drawn or stored first
 */
function recallDecision(
  { profiles }: Deciding,
  check: Check,
  experiment: ExperimentDefinition,
  runs: RememberedRuns,
  stored: Remembered | undefined,
): Decision | null {
  const profile = experiment.leavesOut ? profiles.peek(check.user_id) : undefined
  const decision = settleStored(experiment, check, stored, profile && subjectOf(profile, check, runs))
  switch (decision?.outcome) {
    case 'stored':
      return mustExpose(experiment, stored, check) ? null : decision
    case 'left out':
      // An answer without a stored row is not fenced. A stored variant that the snapshot lacks is newer than the
      // snapshot, so the answer is not given from memory.
      return experiment.variants.some((variant) => variant.id === stored?.variantId) ? decision : null
    case undefined:
      return null
    default:
      return decision
  }
}

/**
 * Reports the variant of each experiment of the check in which the user has one.
 * @param report gets `stored` if the variant is the stored one, and not an override or a shipped variant
 * @returns false if something has to be looked up or stored: the reported variants are then not an answer
 */
export function recallEach(
  deciding: Deciding,
  check: Check,
  report: (experiment: ExperimentDefinition, variant: VariantDefinition, stored: Remembered | undefined) => void,
): boolean {
  const runs = deciding.memory.peek(check.user_id)
  if (!runs) return false
  const { experiments, highestId } = deciding.watch.snapshot()
  for (const id of check.experiment_ids) {
    const experiment = experiments.get(id)
    if (!experiment) {
      if (id > highestId) return false
      continue
    }
    const stored = storedIn(experiment, runs)
    const decision = recallDecision(deciding, check, experiment, runs, stored)
    if (decision === null) return false
    if (decision.outcome === 'left out') continue
    report(experiment, decision.variant, decision.outcome === 'stored' ? stored : undefined)
  }
  return true
}

/** Answers a check from memory. @returns null if something has to be looked up or stored */
export function recallAnswers(deciding: Deciding, check: Check): Answer[] | null {
  const answers: Answer[] = []
  const complete = recallEach(deciding, check, (experiment, variant, stored) => {
    answers.push({ experiment, variant, assignedAt: stored?.assignedAt ?? null, fenced: true })
  })
  return complete ? answers : null
}

/** The answer to a check of one experiment. */
type Recalled = {
  experiment: ExperimentDefinition
  variant: VariantDefinition
  /** Undefined for an override or a shipped variant. */
  stored: Remembered | undefined
}

/**
 * Answers a check of one experiment from memory.
 * @returns null if the user gets no variant, undefined if something has to be looked up or stored
 */
export function recallOne(
  deciding: Deciding,
  check: Omit<Check, 'experiment_ids'>,
  experimentId: number,
): Recalled | null | undefined {
  let found = null as Recalled | null
  const complete = recallEach(deciding, { ...check, experiment_ids: [experimentId] }, (experiment, variant, stored) => {
    found = { experiment, variant, stored }
  })
  return complete ? found : undefined
}
