import { createHash } from 'node:crypto'

/**
 * A second implementation of what docs/deciding.md says about ids that belong to one person. It shares no code with the
 * platform: it keeps everything in maps, one id after the other.
 */

/** An experiment in which every user has one of two variants by equal shares, unless its holdout holds the user. */
export type Experiment = { id: number; holdout?: Experiment; percents: readonly number[]; variants: readonly number[] }
export type Rollout = { key: string; rule: string; percents: readonly number[] }

/** A join, or the undoing of a join, with what was true just before it. */
export type LoginStep = {
  kind: 'join' | 'undo'
  /** The id that the call named as the alias. */
  alias: string
  owner: string
  /** The account was known to the platform. */
  ownerKnown: boolean
  /** The variants that each of both ids had of its own, by experiment. */
  own: Map<string, Map<number, number>>
}

/** int(first 8 hex digits of SHA-256) mod 100. */
export const bucket = (text: string) =>
  Number.parseInt(createHash('sha256').update(text).digest('hex').slice(0, 8), 16) % 100

/** Picks the first share whose sum with those before exceeds the bucket; -1 beyond all shares. */
function pick(percents: readonly number[], text: string): number {
  let sum = 0
  return percents.findIndex((percent) => {
    sum += percent
    return sum > bucket(text)
  })
}

/** Draws the user of this id as somebody of whom nothing is stored. */
export const drawn = ({ id, percents, variants }: Experiment, userId: string) =>
  variants[pick(percents, `${userId}:${id}`)] as number

const isHeldBy = (holdout: Experiment, variant: number | undefined) => variant === holdout.variants[0]

export function createModel() {
  /** Stored variants, by id and experiment. */
  const stored = new Map<string, Map<number, number>>()
  const owners = new Map<string, string>()
  /** The aliases through which ids came to their owners, where they were not joined to the owner itself. */
  const vias = new Map<string, string>()
  /** The ids that draw rollouts, where these are not a person's own. */
  const drawIds = new Map<string, string>()
  /** Ids with an event or a profile. */
  const met = new Set<string>()
  const underHoldout = new Map<number, Experiment>()

  const own = (id: string) => {
    const found = stored.get(id) ?? new Map<number, number>()
    stored.set(id, found)
    return found
  }
  const ownerOf = (id: string) => owners.get(id) ?? id
  const drawIdOf = (id: string) => drawIds.get(ownerOf(id)) ?? ownerOf(id)
  const aliasesOf = (id: string) => [...owners].flatMap(([alias, owner]) => (owner === id ? [alias] : []))
  const isKnown = (id: string) =>
    met.has(id) || own(id).size > 0 || owners.has(id) || drawIds.has(id) || aliasesOf(id).length > 0
  const keep = (id: string, experiment: number, variant: number) => {
    if (!own(id).has(experiment)) own(id).set(experiment, variant)
  }

  /** Decides whether the holdout keeps the person out. The account's decision goes before the id's own. */
  function isHeld(id: string, holdout: Experiment): boolean {
    const owner = ownerOf(id)
    const settled = own(owner).get(holdout.id) ?? own(id).get(holdout.id)
    if (settled !== undefined) return isHeldBy(holdout, settled)
    const variant = drawn(holdout, owner)
    keep(owner, holdout.id, variant)
    return isHeldBy(holdout, variant)
  }

  return {
    ownerOf,
    isKnown,
    isHeld,
    /** Notes that an event or a profile of the id is stored. */
    meet: (id: string) => void met.add(id),

    /** Decides an experiment: the id's own variant, else its owner's, else a draw of the owner, which is stored. */
    decide(id: string, experiment: Experiment): number | undefined {
      const { holdout } = experiment
      if (holdout) underHoldout.set(experiment.id, holdout)
      const owner = ownerOf(id)
      const settled = own(id).get(experiment.id) ?? own(owner).get(experiment.id)
      if (settled !== undefined) return settled
      if (holdout && isHeld(id, holdout)) return undefined
      const variant = drawn(experiment, owner)
      keep(owner, experiment.id, variant)
      return variant
    },

    /** Evaluates a rollout, which stores nothing. @returns the index of the share; -1 beyond the shares */
    roll: (id: string, { key, rule, percents }: Rollout) => pick(percents, `${drawIdOf(id)}:flag:${key}:${rule}`),

    join(alias: string, owner: string): LoginStep {
      const step = { kind: 'join' as const, alias, owner, ownerKnown: isKnown(owner), own: ownOfBoth(alias, owner) }
      if (!step.ownerKnown) drawIds.set(owner, drawIdOf(alias))
      const moving = aliasesOf(alias)
      const givers = [alias, ...moving]
      // A held owner gets nothing of the holdout's experiments. An owner who becomes held by an id gets all of that id.
      const heldBy = (holdout: Experiment) => {
        const settled = [owner, ...givers].find((id) => own(id).has(holdout.id))
        return settled !== undefined && isHeldBy(holdout, own(settled).get(holdout.id)) ? settled : undefined
      }
      const given = givers.flatMap((giver) =>
        [...own(giver)].filter(([experiment]) => {
          const holdout = underHoldout.get(experiment)
          const by = holdout && heldBy(holdout)
          return by === undefined || by === giver
        }),
      )
      for (const [experiment, variant] of given) keep(owner, experiment, variant)
      // An id whose account is merged into another one keeps what the former account gave.
      for (const follower of moving)
        for (const [experiment, variant] of own(alias))
          if (own(owner).get(experiment) !== variant) keep(follower, experiment, variant)
      for (const giver of givers) owners.set(giver, owner)
      for (const follower of moving) if (!vias.has(follower)) vias.set(follower, alias)
      return step
    },

    undo(alias: string): LoginStep {
      const owner = ownerOf(alias)
      const step = { kind: 'undo' as const, alias, owner, ownerKnown: true, own: ownOfBoth(alias, owner) }
      // The ids that came with the alias go with it, and keep what its owner gave them.
      const returned = aliasesOf(owner).filter((id) => cameThrough(id, alias))
      for (const [experiment, variant] of own(owner)) {
        keep(alias, experiment, variant)
        for (const id of returned) if (own(alias).get(experiment) !== variant) keep(id, experiment, variant)
      }
      drawIds.set(alias, drawIdOf(owner))
      owners.delete(alias)
      for (const id of returned) {
        owners.set(id, alias)
        if (vias.get(id) === alias) vias.delete(id)
      }
      return step
    },
  }

  function cameThrough(id: string, alias: string): boolean {
    const via = vias.get(id)
    return via !== undefined && (via === alias || cameThrough(via, alias))
  }

  function ownOfBoth(...ids: string[]) {
    return new Map(ids.map((id) => [id, new Map(own(id))]))
  }
}
export type Model = ReturnType<typeof createModel>
