import { experimentIds } from '../definitions/references.ts'
import { notFound } from '../errors.ts'
import type { Json } from '../wire.ts'
import { type Deciding, decide } from './decide.ts'
import { recallAnswers, recallConfirmed, recallEach } from './recall.ts'
import type { AssignmentOutput, CheckEligibility, Eligibility, GetAssignment } from './schema.ts'
import type { Answer, Check } from './settle.ts'

/**
 * Decides the variants of a user in several experiments; see `decide`. A user whom this process remembers costs no
 * round trip.
 * @returns decisions by experiment id or key, as asked; experiments in which the user gets no variant are left out
 * @throws DomainError NOT_FOUND for an unknown user, unless the call carries attributes
 */
export async function checkEligibility(
  deciding: Deciding,
  actor: string,
  input: CheckEligibility,
): Promise<Eligibility> {
  const { experiment_ids: asked = [], experiment_keys = [], ...who } = input
  const byKey = experiment_keys.length === 0 ? NO_KEYS : await experimentIds(deciding.watch, experiment_keys)
  const experiment_ids = byKey.size === 0 ? asked : [...new Set([...asked, ...byKey.values()])]
  const answers = new Map<number, Eligibility['eligible_experiment_ids'][string]>()
  for (const { experiment, variant } of await answerCheck(deciding, actor, { ...who, experiment_ids }))
    answers.set(experiment.id, variant.answer as Eligibility['eligible_experiment_ids'][string])
  const eligible: Eligibility['eligible_experiment_ids'] = {}
  for (const [name, id] of [...asked.map((id) => [id, id] as const), ...byKey]) {
    const answer = answers.get(id)
    if (answer) eligible[name] = answer
  }
  return { eligible_experiment_ids: eligible }
}

/**
 * Decides the variant of a user in one experiment, like `checkEligibility`.
 * @throws DomainError NOT_FOUND for an unknown experiment or user, and if the user gets no variant
 */
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

const NO_KEYS: ReadonlyMap<string, number> = new Map()

/** Decides a check: from memory if possible, otherwise by looking up, drawing and storing. */
export async function answerCheck(deciding: Deciding, actor: string, check: Check): Promise<Answer[]> {
  return recallAnswers(deciding, check) ?? (await lookUp(deciding, actor, check))
}

/** Answers from the assignments in Redis if they are enough, otherwise from the database. */
async function lookUp(deciding: Deciding, actor: string, check: Check): Promise<Answer[]> {
  const shared = await deciding.memory.shared(check.user_id)
  return (shared && recallAnswers(deciding, check)) ?? decide(deciding, actor, check)
}

/**
 * Answers `getAssignment` as JSON, from memory.
 * @returns null if something has to be looked up or stored, or if the user gets no variant
 */
export function assignmentJson(deciding: Deciding, experimentId: number, userId: string): string | null {
  const [found] = recallAnswers(deciding, { user_id: userId, experiment_ids: [experimentId] }) ?? []
  if (!found) return null
  const { variant, assignedAt } = found
  const at = assignedAt === null ? null : `"${new Date(assignedAt).toISOString()}"`
  const fields = variant.answerJson.slice(1, -1)
  return `{"experiment_id":${experimentId},"user_id":${JSON.stringify(userId)},${fields},"assigned_at":${at}}`
}

/**
 * Answers `checkEligibility` as JSON, from memory. A check that stored assignments settle gets its answer at once,
 * without a promise; see `recallConfirmed` for a check of experiments in which the user has no variant.
 * @param check must be valid
 * @returns undefined if something has to be looked up, drawn or stored, or for a check that names experiments by key
 */
export function eligibilityJson(
  deciding: Deciding,
  asked: CheckEligibility,
): string | undefined | Promise<string | undefined> {
  if (!isByIds(asked)) return undefined
  const check = withoutRepeats(asked)
  return recallConfirmed(deciding, asked.user_id, (known) => {
    const found = recallEach(deciding, check, known)
    if (!found) return undefined
    let entries = ''
    for (const { experiment, variant } of found)
      entries += `${entries === '' ? '' : ','}"${experiment.id}":${variant.answerJson}`
    return `{"eligible_experiment_ids":{${entries}}}`
  })
}

const isByIds = (check: CheckEligibility): check is CheckEligibility & Check =>
  check.experiment_ids !== undefined && check.experiment_keys === undefined

const withoutRepeats = (check: Check): Check => {
  if (check.experiment_ids.length < 2) return check
  const ids = new Set(check.experiment_ids)
  return ids.size === check.experiment_ids.length ? check : { ...check, experiment_ids: [...ids] }
}
