import { notFound } from '../errors.ts'
import type { Json } from '../wire.ts'
import { type Deciding, decide } from './decide.ts'
import { recallAnswers, recallEach, recallOne } from './recall.ts'
import type { AssignmentOutput, CheckEligibility, Eligibility, GetAssignment } from './schema.ts'
import type { Answer, Check } from './settle.ts'

/**
 * Answers the variants of a user in the experiments asked for. A known user costs no round trip.
 * New decisions are stored before they are answered, and the first stored decision wins.
 * @param actor the name in the audit log where the check starts a draft
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

/** Answers the same decision for one experiment. @throws DomainError NOT_FOUND when there is none */
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

/** Decides a check: from memory where that is enough, else by looking up, drawing and storing. */
export async function answerCheck(deciding: Deciding, actor: string, check: Check): Promise<Answer[]> {
  return recallAnswers(deciding, check) ?? (await lookUp(deciding, actor, check))
}

/** Answers from what other processes left in Redis, where that is enough; else asks the database. */
async function lookUp(deciding: Deciding, actor: string, check: Check): Promise<Answer[]> {
  const shared = await deciding.memory.shared(check.user_id)
  return (shared && recallAnswers(deciding, check)) ?? decide(deciding, actor, check)
}

/**
 * Answers `getAssignment` as JSON, from memory.
 * @param userId has no characters that JSON escapes
 * @returns null when something has to be looked up or stored, and where there is no assignment
 */
export function assignmentJson(deciding: Deciding, experimentId: number, userId: string): string | null {
  const found = recallOne(deciding, { user_id: userId }, experimentId)
  if (!found) return null
  const { variant, stored } = found
  const at = stored ? `"${new Date(stored.assignedAt).toISOString()}"` : null
  const fields = variant.answerJson.slice(1, -1)
  return `{"experiment_id":${experimentId},"user_id":"${userId}",${fields},"assigned_at":${at}}`
}

/**
 * Answers `checkEligibility` as JSON, from memory, without a promise and without the objects: half of the cost of a
 * decision for a known user (`npm run bench -- decisions`).
 * @param check valid, and names no experiment twice
 * @returns null when something has to be looked up or stored
 */
export function eligibilityJson(deciding: Deciding, check: Check): string | null {
  let entries = ''
  const complete = recallEach(deciding, check, (experiment, variant) => {
    entries += `${entries === '' ? '' : ','}"${experiment.id}":${variant.answerJson}`
  })
  return complete ? `{"eligible_experiment_ids":{${entries}}}` : null
}
