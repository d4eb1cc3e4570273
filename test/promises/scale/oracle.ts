import type { ScaleExperiment } from './definitions.ts'

/** A user's decision in a run, known from the answers. Ids that must get the same answers share one decision. */
type Decision = { first: number | undefined }

export type Asked = {
  userId: string
  experiment: ScaleExperiment
  /** The experiment's run when the request was sent. */
  run: number
  /** Milliseconds since 1970. */
  sentAt: number
  isPreview: boolean
  /** True if every condition that the test ever sets holds for the user. */
  isTargeted: boolean
  /** The variant answered before the request was sent. */
  before: number | undefined
}

/** The reason why an assigned user got no variant. */
export type NoneReason = 'disabled' | 'left out' | 'new variant' | 'unexplained'
export type Verdict = 'first' | 'same' | 'preview' | 'none' | `none: ${NoneReason}`

export class Flip extends Error {}

/** How long a process may use an old definition after a change: if the message is lost, until the next poll. */
const STALE_MS = 6000

/**
 * Creates the oracle, which knows the right answers. Within a run, every answer for an id is the first one, or none. If
 * an id becomes an alias of another, and only one of the two has requested a decision, both get the answers of that
 * one.
 */
export function createOracle() {
  const decisions = new Map<string, Decision>()
  const owners = new Map<string, string>()
  const keyOf = (userId: string, experimentId: number, run: number) => `${experimentId} ${run} ${userId}`

  const find = (userId: string, experiment: ScaleExperiment): Decision | undefined => {
    const decision = decisions.get(keyOf(userId, experiment.id, experiment.run))
    const owner = owners.get(userId)
    return decision ?? (owner === undefined ? undefined : find(owner, experiment))
  }
  /** Notes that the platform may store a decision for the user from now on. */
  function touch(userId: string, experiment: ScaleExperiment): Decision {
    const key = keyOf(userId, experiment.id, experiment.run)
    const known = decisions.get(key)
    if (known) return known
    const owner = owners.get(userId)
    const decision = owner === undefined ? { first: undefined } : touch(owner, experiment)
    decisions.set(key, decision)
    return decision
  }

  function noteQuestion(question: Pick<Asked, 'userId' | 'experiment' | 'isPreview' | 'isTargeted'>): Asked {
    const { userId, experiment, isPreview } = question
    if (!isPreview) {
      touch(userId, experiment)
      if (experiment.holdout) touch(userId, experiment.holdout)
    }
    return { ...question, run: experiment.run, sentAt: Date.now(), before: find(userId, experiment)?.first }
  }

  /** Compares an answer with the first one. @throws Flip if they differ */
  function checkAnswer(asked: Asked, answer: number | undefined): Verdict {
    const { userId, experiment, isPreview } = asked
    if (experiment.run !== asked.run) throw new Error(`A run of ${experiment.name} began during a request`)
    const decision = isPreview ? find(userId, experiment) : touch(userId, experiment)
    const expected = isPreview ? asked.before : decision?.first
    if (answer === undefined) return asked.before === undefined ? 'none' : `none: ${noneReason(asked, asked.before)}`
    if (expected !== undefined && answer !== expected)
      throw new Flip(
        `${userId} got variant ${expected} of experiment ${experiment.id} (${experiment.name}) in run ${asked.run}, and then ${answer}` +
          ` (${isPreview ? 'a preview' : 'a check'} sent ${new Date(asked.sentAt).toISOString()}, owner ${owners.get(userId) ?? 'none'})`,
      )
    if (isPreview) return 'preview'
    if (!decision || decision.first !== undefined) return 'same'
    decision.first = answer
    return 'first'
  }

  function noneReason({ experiment, sentAt, isTargeted }: Asked, variantId: number): NoneReason {
    const variant = experiment.variants.find(({ id }) => id === variantId)
    if (variant && variant.disabledUntil > sentAt - STALE_MS) return 'disabled'
    if (experiment.leavesOut && !isTargeted) return 'left out'
    return !variant || variant.addedAt > sentAt - STALE_MS ? 'new variant' : 'unexplained'
  }

  return {
    noteQuestion,
    checkAnswer,
    touch,
    /** Notes that the platform made an id an alias of its owner. No decision may flip at this login. */
    join(aliasId: string, ownerId: string, experiments: readonly ScaleExperiment[]) {
      owners.set(aliasId, ownerId)
      for (const experiment of experiments) {
        // In a layer, the owner gets the alias's decision only if they are in no other experiment of the layer.
        if (experiment.layerId !== null) continue
        const key = (userId: string) => keyOf(userId, experiment.id, experiment.run)
        const own = decisions.get(key(aliasId))
        if (own && !decisions.has(key(ownerId))) decisions.set(key(ownerId), own)
      }
    },
    answered: (userId: string, experiment: ScaleExperiment) => find(userId, experiment)?.first !== undefined,
    ownerOf: (userId: string) => owners.get(userId),
    /** Lists all answered decisions. */
    *answers() {
      for (const [key, { first }] of decisions) {
        const [experimentId, run, ...userId] = key.split(' ')
        if (first !== undefined)
          yield { experimentId: Number(experimentId), run: Number(run), userId: userId.join(' '), variantId: first }
      }
    },
  }
}
export type Oracle = ReturnType<typeof createOracle>
