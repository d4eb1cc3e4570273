import type { Watch } from '../definitions/watch.ts'
import { notFound, unavailable } from '../errors.ts'
import {
  type Decision,
  decideSettled,
  draw,
  type ExperimentDefinition,
  type Subject,
  startsOnCheck,
  type VariantDefinition,
} from '../evaluation/evaluate.ts'
import type { Starter } from '../experiments/starter.ts'
import type { People } from '../users/people.ts'
import type { Json } from '../wire.ts'
import type { AssignmentMemory, Remembered, RememberedRuns } from './memory.ts'
import type { AssignmentOutput, CheckEligibility, Eligibility, GetAssignment } from './schema.ts'
import type { AssignmentWriter } from './writer.ts'

/** What deciding touches. */
export type Deciding = {
  watch: Watch
  people: People
  memory: AssignmentMemory
  writer: AssignmentWriter
  starter: Starter
}

/** How often a decision is made again because definitions moved under it. */
const MAX_ATTEMPTS = 10

/** `fenced`: a row that was stored under the fence, or the variant that was shipped, says so. */
type Answer = {
  experiment: ExperimentDefinition
  variant: VariantDefinition
  assignedAt: number | null
  fenced: boolean
}

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
  const answers = fromMemory(deciding, input) ?? (await lookUp(deciding, actor, input))
  const eligible: Eligibility['eligible_experiment_ids'] = {}
  for (const { experiment, variant } of answers)
    eligible[experiment.id] = { variant_id: variant.id, variant_name: variant.name, payload: variant.payload as Json }
  return { eligible_experiment_ids: eligible }
}

/** The same decision for one experiment. @throws DomainError NOT_FOUND when there is none */
export async function getAssignment(
  deciding: Deciding,
  actor: string,
  input: GetAssignment,
): Promise<AssignmentOutput> {
  const check = {
    user_id: input.user_id,
    experiment_ids: [input.experiment_id],
    expose: input.expose,
    attributes: undefined,
  }
  const [answer] = fromMemory(deciding, check) ?? (await lookUp(deciding, actor, check))
  if (!answer) {
    if (!deciding.watch.snapshot().experiments.has(input.experiment_id))
      throw notFound('Experiment', input.experiment_id)
    throw notFound('An assignment of user', `${input.user_id} in experiment ${input.experiment_id}`)
  }
  const { variant, assignedAt } = answer
  return {
    experiment_id: input.experiment_id,
    user_id: input.user_id,
    variant_id: variant.id,
    variant_name: variant.name,
    payload: variant.payload as Json,
    assigned_at: assignedAt === null ? null : new Date(assignedAt),
  }
}

/** Whether this answer must be preceded by storing that the user met the variant. */
const mustExpose = (
  experiment: ExperimentDefinition,
  stored: Remembered | undefined,
  expose: boolean | null | undefined,
) => stored !== undefined && !stored.exposed && experiment.exposesOnCheck && expose !== false

const storedIn = (experiment: ExperimentDefinition, runs: RememberedRuns | undefined) =>
  experiment.run ? runs?.get(experiment.run.id) : undefined

/** Whether only the database can tell if the user is assigned. */
const mayBeStored = (experiment: ExperimentDefinition) =>
  experiment.status === 'running' || experiment.status === 'paused'

/** Answers from what this process remembers, or null when anything has to be looked up or stored. */
function fromMemory({ watch, memory }: Deciding, input: CheckEligibility): Answer[] | null {
  const runs = memory.peek(input.user_id)
  if (!runs) return null
  const snapshot = watch.snapshot()
  const answers: Answer[] = []
  for (const id of input.experiment_ids) {
    const experiment = snapshot.experiments.get(id)
    if (!experiment) {
      if (id > snapshot.highestId) return null
      continue
    }
    const stored = storedIn(experiment, runs)
    if (!stored && mayBeStored(experiment)) return null
    const decision = decideSettled(experiment, stored?.variantId)
    if (!decision || mustExpose(experiment, stored, input.expose)) return null
    if (decision.outcome !== 'left out')
      answers.push({ experiment, variant: decision.variant, assignedAt: assignedAt(decision, stored), fenced: true })
    else if (!stored) return null
  }
  return answers
}

const assignedAt = (decision: Decision, stored: Remembered | undefined) =>
  decision.outcome === 'stored' && stored ? stored.assignedAt : null

/** What other processes left in Redis may do; otherwise the database has to be asked. */
async function lookUp(deciding: Deciding, actor: string, input: CheckEligibility): Promise<Answer[]> {
  const shared = await deciding.memory.shared(input.user_id)
  return (shared && fromMemory(deciding, input)) ?? decide(deciding, actor, input)
}

async function decide(deciding: Deciding, actor: string, input: CheckEligibility): Promise<Answer[]> {
  const { watch, people, memory } = deciding
  const ids = [...new Set(input.experiment_ids)]
  if (ids.some((id) => id > watch.snapshot().highestId)) await watch.refresh()

  for (let attempt = 1; attempt <= MAX_ATTEMPTS; attempt++) {
    const peopleVersion = watch.seenVersion(input.user_id)
    const person = await people.read(input.user_id)
    if (!person.known && !input.attributes) throw notFound('User', input.user_id)
    const subject: Subject = {
      userId: input.user_id,
      attributes: input.attributes ? { ...person.attributes, ...input.attributes } : person.attributes,
      segmentIds: person.segmentIds,
    }
    const { experiments } = watch.snapshot()
    const wanted = ids.flatMap((id) => experiments.get(id) ?? [])
    const starting = wanted.filter(startsOnCheck)
    if (starting.length > 0) {
      await Promise.all(starting.map((experiment) => deciding.starter(actor, experiment.id, 'check')))
      continue
    }
    let runs = memory.peek(input.user_id)
    if (wanted.some((experiment) => mayBeStored(experiment) && !storedIn(experiment, runs)))
      runs = await memory.load(input.user_id)

    const answers = await Promise.all(
      wanted.map((experiment) =>
        decideOne(deciding, experiment, { subject, peopleVersion, expose: input.expose }, storedIn(experiment, runs)),
      ),
    )
    const found = answers.filter((answer) => answer !== null && answer !== 'moved')
    const moved = answers.includes('moved')
    if (found.length === wanted.length && found.every((answer) => answer.fenced)) return found
    // What is not backed by a stored row holds only if the snapshot was current during this request.
    const { experiments: now } = await watch.refresh()
    const current = (experiment: ExperimentDefinition) => now.get(experiment.id)?.version === experiment.version
    if (!moved && wanted.every(current)) return found
  }
  throw unavailable('The experiments are being changed too quickly to decide; try again soon')
}

async function decideOne(
  { writer }: Deciding,
  experiment: ExperimentDefinition,
  { subject, peopleVersion, expose }: { subject: Subject; peopleVersion: number; expose: boolean | null | undefined },
  stored: Remembered | undefined,
): Promise<Answer | null | 'moved'> {
  let decision = decideSettled(experiment, stored?.variantId) ?? draw(experiment, subject)
  if (decision.outcome === 'left out') return null
  if (decision.outcome === 'drawn' && experiment.run) {
    const result = await writer.store({
      run_id: experiment.run.id,
      user_id: subject.userId,
      variant_id: decision.variant.id,
      period: experiment.run.period,
      experiment_id: experiment.id,
      definition_version: experiment.version,
      attributes: attributesRead(experiment, subject),
      expose: experiment.exposesOnCheck && expose !== false,
      people_version: peopleVersion,
    })
    if (result === 'moved') return 'moved'
    stored = result
    decision = decideSettled(experiment, stored.variantId) ?? decision
    if (decision.outcome === 'left out') return null
  }
  if (decision.outcome === 'stored' && experiment.run && mustExpose(experiment, stored, expose))
    await writer.expose({ run_id: experiment.run.id, user_id: subject.userId })
  const fenced = decision.outcome !== 'preview'
  return { experiment, variant: decision.variant, assignedAt: assignedAt(decision, stored), fenced }
}

/** The values that targeting read, kept with the decision so that it can be explained later. */
function attributesRead(experiment: ExperimentDefinition, subject: Subject): Record<string, Json> | null {
  if (experiment.reads.length === 0) return null
  const read: Record<string, Json> = {}
  for (const name of experiment.reads)
    if (Object.hasOwn(subject.attributes, name)) read[name] = subject.attributes[name] as Json
  return read
}
