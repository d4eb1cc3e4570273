import type { ScaleExperiment } from './world.ts'

/** A user's decision in a run, as the answers tell it; ids that must answer alike share one. */
type Slot = { first: number | undefined }

export type Asked = {
  userId: string
  experiment: ScaleExperiment
  /** The run, when the question was sent. */
  run: number
  sentAt: number
  isPreview: boolean
  /** Whether every condition that is ever set holds for the user. */
  isTargeted: boolean
  /** What had been answered when the question was sent. */
  before: number | undefined
}

/** Why an assigned user was answered nothing. */
export type Silence = 'disabled' | 'left out' | 'new variant' | 'unexplained'
export type Verdict = 'first' | 'same' | 'preview' | 'none' | `none: ${Silence}`

export class Flip extends Error {}

/** How long after a change a process may go on by the old definition: its message was lost, and the poll is due. */
const STALE_MS = 6000

/**
 * The law: within a run, every answer of an id is the first one, or none; an id that is joined to another, while one of
 * the two was never asked about, answers as that one does.
 */
export function createOracle() {
  const slots = new Map<string, Slot>()
  const owners = new Map<string, string>()
  const keyOf = (userId: string, experimentId: number, run: number) => `${experimentId} ${run} ${userId}`

  const find = (userId: string, experiment: ScaleExperiment): Slot | undefined => {
    const slot = slots.get(keyOf(userId, experiment.id, experiment.run))
    const owner = owners.get(userId)
    return slot ?? (owner === undefined ? undefined : find(owner, experiment))
  }
  /** Notes that something may be stored for the user from now on. */
  function touch(userId: string, experiment: ScaleExperiment): Slot {
    const key = keyOf(userId, experiment.id, experiment.run)
    const known = slots.get(key)
    if (known) return known
    const owner = owners.get(userId)
    const slot = owner === undefined ? { first: undefined } : touch(owner, experiment)
    slots.set(key, slot)
    return slot
  }

  function ask(question: Pick<Asked, 'userId' | 'experiment' | 'isPreview' | 'isTargeted'>): Asked {
    const { userId, experiment, isPreview } = question
    if (!isPreview) {
      touch(userId, experiment)
      if (experiment.holdout) touch(userId, experiment.holdout)
    }
    return { ...question, run: experiment.run, sentAt: Date.now(), before: find(userId, experiment)?.first }
  }

  /** @throws Flip where the answer is another one than the first */
  function hear(asked: Asked, answer: number | undefined): Verdict {
    const { userId, experiment, isPreview } = asked
    if (experiment.run !== asked.run) throw new Error(`A run of ${experiment.name} began while it was asked for`)
    const slot = isPreview ? find(userId, experiment) : touch(userId, experiment)
    const expected = isPreview ? asked.before : slot?.first
    if (answer === undefined) return asked.before === undefined ? 'none' : `none: ${silenceOf(asked, asked.before)}`
    if (expected !== undefined && answer !== expected)
      throw new Flip(
        `${userId} was answered variant ${expected} of experiment ${experiment.id} (${experiment.name}) in run ${asked.run}, and then ${answer}` +
          ` (${isPreview ? 'a preview' : 'a check'} sent ${new Date(asked.sentAt).toISOString()}, owner ${owners.get(userId) ?? 'none'})`,
      )
    if (isPreview) return 'preview'
    if (!slot || slot.first !== undefined) return 'same'
    slot.first = answer
    return 'first'
  }

  function silenceOf({ experiment, sentAt, isTargeted }: Asked, variantId: number): Silence {
    const variant = experiment.variants.find(({ id }) => id === variantId)
    if (variant && variant.disabledUntil > sentAt - STALE_MS) return 'disabled'
    if (experiment.leavesOut && !isTargeted) return 'left out'
    return !variant || variant.addedAt > sentAt - STALE_MS ? 'new variant' : 'unexplained'
  }

  return {
    ask,
    hear,
    touch,
    /** After the platform said that it joined an id to its owner: nobody flips at login. */
    join(aliasId: string, ownerId: string, experiments: readonly ScaleExperiment[]) {
      owners.set(aliasId, ownerId)
      for (const experiment of experiments) {
        // Whether the owner is given it depends on what else of the layer they are in.
        if (experiment.layerId !== null) continue
        const key = (userId: string) => keyOf(userId, experiment.id, experiment.run)
        const own = slots.get(key(aliasId))
        if (own && !slots.has(key(ownerId))) slots.set(key(ownerId), own)
      }
    },
    answered: (userId: string, experiment: ScaleExperiment) => find(userId, experiment)?.first !== undefined,
    ownerOf: (userId: string) => owners.get(userId),
    /** Everything that was answered. */
    *answers() {
      for (const [key, { first }] of slots) {
        const [experimentId, run, ...userId] = key.split(' ')
        if (first !== undefined)
          yield { experimentId: Number(experimentId), run: Number(run), userId: userId.join(' '), variantId: first }
      }
    },
  }
}
export type Oracle = ReturnType<typeof createOracle>
