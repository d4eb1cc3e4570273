import { setTimeout as sleep } from 'node:timers/promises'
import type { Deciding } from '../assignments/decide.ts'
import { answerCheck } from '../assignments/service.ts'
import type { Snapshot } from '../definitions/snapshot.ts'
import { unavailable, unknownUser } from '../errors.ts'
import { mergeAttributes } from '../evaluation/condition.ts'
import type { ExperimentDefinition } from '../evaluation/definition.ts'
import { settledForAll } from '../evaluation/evaluate.ts'
import { evaluateFlag, type FlagAnswer, type FlagDefinition, type FlagSubject } from '../evaluation/flag.ts'
import { needsProfile } from '../evaluation/targeting.ts'
import type { PersonIds, UserProfile } from '../users/profile-cache.ts'
import type { Json } from '../wire.ts'
import type { EvaluatedFlags, EvaluateFlags } from './schema.ts'

/** The most snapshots of one call. Definitions that change during the call bring a new snapshot. */
const MAX_CHANGES = 25
/** The longest wait of a call for newer definitions. */
const REFRESH_TIMEOUT_MS = 500

/** One request to evaluate flags. */
type FlagCheck = {
  /** null: no user in particular. */
  user_id: string | null
  /** null: all flags and experiments. */
  keys: readonly string[] | null
  attributes: Record<string, Json> | null
  /** true: the user is shown the variants, so the call records exposures. */
  expose: boolean
  /** true: stores nothing and exposes nobody. */
  preview?: boolean
}

/**
 * The exposure of an answer. `recorded`: this call recorded the exposure. `report`: the application reports the
 * exposure when it shows the variant. `none`: there is nothing to expose.
 */
export type Exposure = 'recorded' | 'report' | 'none'
/** 'user needed': the flag cannot be evaluated without a user id. */
export type Evaluated = { readonly answer: FlagAnswer; readonly exposure: Exposure } | 'user needed'

/** The variant that an experiment gives the user; null if it gives none. */
type Given = { readonly variantId: number; readonly exposure: Exposure } | null
/** The variants that experiments give, by experiment id, with the version of the experiment that decided. */
type Decided = Map<number, { given: Given; version: number | undefined }>
export type Entry = FlagDefinition | ExperimentDefinition

export const isExperiment = (entry: Entry): entry is ExperimentDefinition => 'variants' in entry
/** Tells whether an entry needs the user to be looked up first. An experiment looks the user up itself. */
export const needsUser = (entry: Entry) => !isExperiment(entry) && entry.rules.length > 0

/**
 * Evaluates flags, and experiments read as flags, for one user. Decisions of experiments are stored before they are
 * returned, like those of a check, but no draft is started. A call costs no round trip if this process remembers the
 * user and their assignments.
 * @returns answers by key, in the order of `check.keys`; unknown keys are left out
 * @throws DomainError NOT_FOUND for an unknown user, unless the call carries attributes; SERVICE_UNAVAILABLE if the
 * definitions keep changing during the call
 */
export async function evaluate(deciding: Deciding, actor: string, check: FlagCheck): Promise<Map<string, Evaluated>> {
  const { watch } = deciding
  // An unknown key may be newer than this process's snapshot. An unavailable database must not delay the known keys.
  if (check.keys?.some((key) => !watch.snapshot().byKey.has(key)))
    await Promise.race([watch.refresh().catch(() => {}), sleep(REFRESH_TIMEOUT_MS, undefined, { ref: false })])
  const decided: Decided = new Map()
  let subject: FlagSubject = nobody
  let seen: Snapshot | undefined
  for (let changes = 0; changes <= MAX_CHANGES; ) {
    if (seen !== watch.snapshot()) {
      // In the new snapshot, flags may read more attributes, and an experiment may be in another run.
      seen = watch.snapshot()
      changes++
      for (const [id, { version }] of decided) if (seen.experiments.get(id)?.version !== version) decided.delete(id)
      subject = await subjectFor(deciding, check)
      continue
    }
    const results = new Map<string, Evaluated>()
    const undecided = new Set<number>()
    for (const [key, entry] of entriesOf(deciding, check)) {
      const found = evaluateEntry(entry, subject, (id) => givenTo(deciding, check, decided, id))
      if (typeof found === 'number') undecided.add(found)
      results.set(key, typeof found === 'number' ? 'user needed' : found)
    }
    if (undecided.size === 0 || check.user_id === null) return results
    // A preview stores nothing, so experiments are decided again together with those that depend on them.
    const missing = check.preview ? [...decided.keys(), ...undecided] : shallowest(seen, undecided)
    await decideMissing(deciding, actor, { ...check, user_id: check.user_id }, missing, decided)
  }
  throw unavailable('Definitions changed too often during this evaluation; try again soon')
}

/** Picks the experiments of least depth, so that prerequisites are decided before the experiments that need them. */
function shallowest({ experiments }: Snapshot, ids: ReadonlySet<number>): number[] {
  const depthOf = (id: number) => experiments.get(id)?.depth ?? 0
  const least = Math.min(...Array.from(ids, depthOf))
  return [...ids].filter((id) => depthOf(id) === least)
}

/** Lists the flags and experiments that the request names; unknown keys are left out. */
function* entriesOf({ watch }: Deciding, { keys }: FlagCheck): Iterable<[string, Entry]> {
  const { byKey } = watch.snapshot()
  if (keys === null) return yield* byKey
  for (const key of keys) {
    const entry = byKey.get(key)
    if (entry) yield [key, entry]
  }
}

/**
 * Looks up the user for the rules, and no more than the rules read: nothing, only the owner of the id, or the profile.
 * @throws DomainError NOT_FOUND for an unknown user without attributes
 */
async function subjectFor(deciding: Deciding, check: FlagCheck): Promise<FlagSubject> {
  const { user_id, attributes } = check
  const { profiles } = deciding
  if (user_id === null) return anonymous(check)
  if (attributes === null) {
    const profile = await profiles.read(user_id)
    if (!profile.known) throw unknownUser(user_id)
    return subjectWith(profile, null)
  }
  let needs = false
  let reads = false
  for (const [, entry] of entriesOf(deciding, check)) {
    needs ||= needsUser(entry)
    reads ||= !isExperiment(entry) && needsProfile(entry.profileReads, attributes)
  }
  if (!needs) return anonymous(check)
  const ids = reads ? undefined : profiles.peekIds(user_id)
  return ids ? idsAlone(ids, attributes) : subjectWith(await profiles.readWithNegatives(user_id), attributes)
}

const inNoSegment: ReadonlySet<number> = new Set()
/** The user of flags without rules, which read nothing. */
export const nobody: FlagSubject = { userId: null, attributes: {}, segmentIds: inNoSegment, at: 0 }

function anonymous({ attributes }: FlagCheck): FlagSubject {
  // Rules compare `id` with user ids, so the attribute `id` of a call is dropped: no call can pose as a user.
  const { id: _id, ...rest } = attributes ?? {}
  return { userId: null, attributes: rest, segmentIds: inNoSegment, at: Date.now(), inSegments: new Map() }
}

export const idsAlone = ({ ownerId, drawId }: PersonIds, attributes: Record<string, Json>): FlagSubject => ({
  userId: drawId,
  attributes: { ...attributes, id: ownerId },
  segmentIds: inNoSegment,
  at: Date.now(),
})

export const subjectWith = (
  { ownerId, drawId, attributes, segmentIds }: UserProfile,
  more: FlagCheck['attributes'],
): FlagSubject => ({
  userId: drawId,
  attributes: more === null ? attributes : { ...mergeAttributes(attributes, more), id: ownerId },
  segmentIds,
  at: Date.now(),
  inSegments: new Map(),
})

/**
 * Evaluates one flag, or one experiment read as a flag.
 * @param variantIn gives the variant of an experiment; undefined if the experiment has not decided yet
 * @returns the id of an experiment that has to decide first, if there is one
 */
export function evaluateEntry(
  entry: Entry,
  subject: FlagSubject,
  variantIn: (experimentId: number) => Given | undefined,
): Exclude<Evaluated, string> | number | 'user needed' {
  if (isExperiment(entry)) {
    const found = variantIn(entry.id)
    if (found === undefined) return entry.id
    const variant = found && entry.variants.find(({ id }) => id === found.variantId)
    return { answer: variant ? variant.asFlag : entry.codeDefault, exposure: found?.exposure ?? 'none' }
  }
  let exposure: Exposure = 'none'
  const answer = evaluateFlag(entry, subject, (experimentId) => {
    const found = variantIn(experimentId)
    exposure = found?.exposure ?? 'none'
    return found == null ? found : found.variantId
  })
  if (answer === 'user') return 'user needed'
  return typeof answer === 'number' ? answer : { answer, exposure: answer.experiment === null ? 'none' : exposure }
}

/** Gets the variant that was decided already; without a user, the variant that the experiment gives every user. */
function givenTo({ watch }: Deciding, check: FlagCheck, decided: Decided, id: number) {
  if (check.user_id !== null) return decided.get(id)?.given
  const experiment = watch.snapshot().experiments.get(id)
  const settled = experiment && settledForAll(experiment)
  return settled === undefined ? undefined : settled && { variantId: settled.id, exposure: 'none' as const }
}

/** Decides experiments by one check, and adds the decisions to `decided`. */
async function decideMissing(
  deciding: Deciding,
  actor: string,
  { user_id, attributes, expose, preview }: FlagCheck & { user_id: string },
  experimentIds: readonly number[],
  decided: Decided,
) {
  const check = { user_id, experiment_ids: experimentIds, attributes, expose, preview, starts: false }
  const answers = await answerCheck(deciding, actor, check)
  const { experiments } = deciding.watch.snapshot()
  for (const id of experimentIds) decided.set(id, { given: null, version: experiments.get(id)?.version })
  for (const { experiment, variant, assignedAt } of answers) {
    const isStored = assignedAt !== null && !preview
    const given = { variantId: variant.id, exposure: exposureOf(experiment, isStored, expose) }
    decided.set(experiment.id, { given, version: experiment.version })
  }
}

export const exposureOf = ({ exposesOnCheck }: ExperimentDefinition, isStored: boolean, expose: boolean): Exposure =>
  !isStored ? 'none' : expose && exposesOnCheck ? 'recorded' : 'report'

/** Evaluates flags for REST and tRPC; see `evaluate`. Flags that need a user are left out. */
export async function evaluateFlags(deciding: Deciding, actor: string, input: EvaluateFlags): Promise<EvaluatedFlags> {
  const results = await evaluate(deciding, actor, {
    user_id: input.user_id,
    keys: input.keys ?? null,
    attributes: input.attributes ?? null,
    expose: input.expose ?? false,
    preview: input.preview ?? false,
  })
  const flags: EvaluatedFlags['flags'] = {}
  for (const [key, result] of results) {
    if (result === 'user needed') continue
    const { value, reason, rule, experiment } = result.answer
    flags[key] = {
      ...(value === undefined ? {} : { value: value as Json }),
      reason,
      rule,
      experiment_id: experiment?.id ?? null,
      variant_id: experiment?.variantId ?? null,
      variant_name: experiment?.variantName ?? null,
    }
  }
  return { flags }
}
