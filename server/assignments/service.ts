import { notFound } from '../errors.ts'
import type { ExperimentDefinition, VariantDefinition } from '../evaluation/definition.ts'
import { decideSettled, isLeftOut } from '../evaluation/evaluate.ts'
import type { Json } from '../wire.ts'
import { type Answer, type Check, type Deciding, decide, mustExpose, storedIn, subjectOf } from './decide.ts'
import type { Remembered } from './memory.ts'
import type { AssignmentOutput, CheckEligibility, Eligibility, GetAssignment } from './schema.ts'

/**
 * The variants of a user in the experiments asked for. A known user costs no round trip: nothing leaves the process.
 * New decisions are stored before they are answered, and whoever is first wins.
 * @param actor who is named in the audit log where the check starts a draft
 * @throws DomainError NOT_FOUND for a user of whom nothing is known, unless the call carries attributes
 */
export async function checkEligibility(
  deciding: Deciding,
  actor: string,
  input: CheckEligibility,
): Promise<Eligibility> {
  const eligible: Eligibility['eligible_experiment_ids'] = {}
  for (const { experiment, variant } of await answerCheck(deciding, actor, input))
    eligible[experiment.id] = variant.answer as Eligibility['eligible_experiment_ids'][string]
  return { eligible_experiment_ids: eligible }
}

/** The same decision for one experiment. @throws DomainError NOT_FOUND when there is none */
export async function getAssignment(
  deciding: Deciding,
  actor: string,
  input: GetAssignment,
): Promise<AssignmentOutput> {
  const { experiment_id, ...who } = input
  const [found] = await answerCheck(deciding, actor, { ...who, experiment_ids: [experiment_id] })
  if (!found) {
    if (!deciding.watch.snapshot().experiments.has(input.experiment_id))
      throw notFound('Experiment', input.experiment_id)
    throw notFound('An assignment of user', `${input.user_id} in experiment ${input.experiment_id}`)
  }
  const { variant_id, variant_name, payload } = found.variant.answer
  return {
    experiment_id: input.experiment_id,
    user_id: input.user_id,
    variant_id,
    variant_name,
    payload: payload as Json,
    assigned_at: found.assignedAt === null ? null : new Date(found.assignedAt),
  }
}

/** The decisions of a check: from memory where that will do, else looked up, made and stored. */
export async function answerCheck(deciding: Deciding, actor: string, check: Check): Promise<Answer[]> {
  return fromMemory(deciding, check) ?? (await lookUp(deciding, actor, check))
}

/** What other processes left in Redis may do; otherwise the database has to be asked. */
async function lookUp(deciding: Deciding, actor: string, check: Check): Promise<Answer[]> {
  const shared = await deciding.memory.shared(check.user_id)
  return (shared && fromMemory(deciding, check)) ?? decide(deciding, actor, check)
}

/** Answers from what this process remembers, or null when anything has to be looked up or stored. */
function fromMemory(deciding: Deciding, check: Check): Answer[] | null {
  const answers: Answer[] = []
  const complete = eachRemembered(deciding, check, (experiment, variant, stored) => {
    answers.push({ experiment, variant, assignedAt: stored?.assignedAt ?? null, fenced: true })
  })
  return complete ? answers : null
}

/**
 * Tells what is answered of each experiment asked for, as far as this process remembers it.
 * @param stored where the answer is what was stored, not an override or a shipped variant
 * @returns false when anything has to be looked up or stored: what was told then is no answer
 */
function eachRemembered(
  { watch, memory, profiles }: Deciding,
  check: Check,
  tell: (experiment: ExperimentDefinition, variant: VariantDefinition, stored: Remembered | undefined) => void,
): boolean {
  const runs = memory.peek(check.user_id)
  if (!runs) return false
  const { experiments, highestId } = watch.snapshot()
  for (const id of check.experiment_ids) {
    const experiment = experiments.get(id)
    if (!experiment) {
      if (id > highestId) return false
      continue
    }
    const stored = storedIn(experiment, runs)
    const decision = decideSettled(experiment, check.user_id, stored)
    if (decision === null) return false
    if (decision.outcome === 'left out') {
      // A stored variant that the snapshot does not know is newer than it.
      if (!stored || !experiment.variants.some((variant) => variant.id === stored.variantId)) return false
      continue
    }
    if (decision.outcome !== 'stored') {
      tell(experiment, decision.variant, undefined)
      continue
    }
    if (mustExpose(experiment, stored, check)) return false
    if (experiment.leavesOut) {
      const person = profiles.peek(check.user_id)
      if (!person) return false
      if (isLeftOut(experiment, subjectOf(person, check, runs))) continue
    }
    tell(experiment, decision.variant, stored)
  }
  return true
}

type Recalled = {
  experiment: ExperimentDefinition
  variant: VariantDefinition
  /** Undefined of an override or a shipped variant. */
  stored: Remembered | undefined
}

/**
 * What a check of one experiment answers, as far as this process remembers it.
 * @returns null where the user is given no variant, undefined when anything has to be looked up or stored
 */
export function recall(
  deciding: Deciding,
  check: Omit<Check, 'experiment_ids'>,
  experimentId: number,
): Recalled | null | undefined {
  let found = null as Recalled | null
  const complete = eachRemembered(
    deciding,
    { ...check, experiment_ids: [experimentId] },
    (experiment, variant, stored) => {
      found = { experiment, variant, stored }
    },
  )
  return complete ? found : undefined
}

/**
 * The answer of `getAssignment` as JSON, in the same way.
 * @param userId of characters that JSON does not escape
 */
export function assignmentJson(deciding: Deciding, experimentId: number, userId: string): string | null {
  const found = recall(deciding, { user_id: userId }, experimentId)
  if (!found) return null
  const { variant, stored } = found
  const at = stored ? `"${new Date(stored.assignedAt).toISOString()}"` : null
  return `{"experiment_id":${experimentId},"user_id":"${userId}",${variant.answerJson.slice(1, -1)},"assigned_at":${at}}`
}

/**
 * The answer of `checkEligibility` as JSON, without a promise and without the objects: half of the cost of a decision
 * for a known user (`npm run bench -- decisions`).
 * @param check valid, and without an experiment named twice
 * @returns null when anything has to be looked up or stored
 */
export function eligibilityJson(deciding: Deciding, check: Check): string | null {
  let entries = ''
  const complete = eachRemembered(deciding, check, (experiment, variant) => {
    entries += `${entries === '' ? '' : ','}"${experiment.id}":${variant.answerJson}`
  })
  return complete ? `{"eligible_experiment_ids":{${entries}}}` : null
}
