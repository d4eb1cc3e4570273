import { setTimeout as sleep } from 'node:timers/promises'
import type { Deciding } from '../assignments/decide.ts'
import { recallOne } from '../assignments/recall.ts'
import { answerCheck } from '../assignments/service.ts'
import type { Snapshot } from '../definitions/snapshot.ts'
import { notFound, unavailable } from '../errors.ts'
import type { ExperimentDefinition } from '../evaluation/definition.ts'
import { settledForAll } from '../evaluation/evaluate.ts'
import {
  evaluateFlag,
  type FlagAnswer,
  type FlagDefinition,
  type FlagSubject,
  readsProfile,
} from '../evaluation/flag.ts'
import type { UserProfile } from '../users/profile-cache.ts'
import type { Json } from '../wire.ts'
import type { EvaluatedFlags, EvaluateFlags } from './schema.ts'

/** How often flags are evaluated again because definitions changed meanwhile. */
const MAX_CHANGES = 25
/** How long a look for newer definitions may take. */
const PATIENCE_MS = 500

/** One question about flags. */
type FlagCheck = {
  /** null: no user in particular. */
  user_id: string | null
  /** null: all flags and experiments. */
  keys: readonly string[] | null
  attributes: Record<string, Json> | null
  /** true: the user is shown what is answered. */
  expose: boolean
  preview?: boolean
}

/** The exposure: this call recorded it, the application has to report it when it shows the variant, or there is none. */
export type Exposure = 'recorded' | 'report' | 'none'
/** 'user needed': the flag cannot be evaluated without a user id. */
export type Evaluated = { readonly answer: FlagAnswer; readonly exposure: Exposure } | 'user needed'

/** The variant that an experiment gives the user; null where it gives none. */
type Given = { readonly variantId: number; readonly exposure: Exposure } | null
/** What experiments give, by id, with the version of the experiment that decided. */
type Decided = Map<number, { given: Given; version: number | undefined }>
type Entry = FlagDefinition | ExperimentDefinition

const isExperiment = (entry: Entry): entry is ExperimentDefinition => 'variants' in entry
/** Tells whether the user is looked up before the entry is evaluated; an experiment looks the user up itself. */
const asksWho = (entry: Entry) => !isExperiment(entry) && entry.rules.length > 0

/**
 * Evaluates flags, and experiments read as flags, for one user. Decisions of experiments are stored before they are
 * answered, like those of a check; no draft is started. A known user costs no round trip where all is remembered.
 * @returns by key, in the order of the keys; unknown ones are left out
 * @throws DomainError NOT_FOUND for a user of whom nothing is known, unless the call carries attributes
 */
export async function evaluate(deciding: Deciding, actor: string, check: FlagCheck): Promise<Map<string, Evaluated>> {
  const { watch } = deciding
  // An unknown key may be newer than this process's snapshot. A look at an unavailable database must not hold up the rest.
  if (check.keys?.some((key) => !watch.snapshot().byKey.has(key)))
    await Promise.race([watch.refresh().catch(() => {}), sleep(PATIENCE_MS, undefined, { ref: false })])
  const decided: Decided = new Map()
  let subject: FlagSubject = nobody
  let seen: Snapshot | undefined
  for (let changes = 0; changes <= MAX_CHANGES; ) {
    if (seen !== watch.snapshot()) {
      // In the new snapshot flags may read more of the user, and an experiment may be in another run.
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
    // A preview stores nothing: experiments decided before are asked for again together with those that read them.
    const missing = check.preview ? [...decided.keys(), ...undecided] : lowest(seen, undecided)
    await decideMissing(deciding, actor, { ...check, user_id: check.user_id }, missing, decided)
  }
  throw unavailable('The flags are being changed too quickly to evaluate them; try again soon')
}

/** Picks the experiments of least depth: a prerequisite that is decided for one flag counts for the next. */
function lowest({ experiments }: Snapshot, ids: ReadonlySet<number>): number[] {
  const depthOf = (id: number) => experiments.get(id)?.depth ?? 0
  const least = Math.min(...Array.from(ids, depthOf))
  return [...ids].filter((id) => depthOf(id) === least)
}

function* entriesOf({ watch }: Deciding, { keys }: FlagCheck): Iterable<[string, Entry]> {
  const { byKey } = watch.snapshot()
  if (keys === null) return yield* byKey
  for (const key of keys) {
    const entry = byKey.get(key)
    if (entry) yield [key, entry]
  }
}

/** Looks up as little of the user as the flags read: nothing, the owner of the id alone, or the profile. */
async function subjectFor(deciding: Deciding, check: FlagCheck): Promise<FlagSubject> {
  const { user_id, attributes } = check
  const { profiles } = deciding
  if (user_id === null) return anonymous(check)
  if (attributes === null) {
    const profile = await profiles.read(user_id)
    if (!profile.known) throw notFound('User', user_id)
    return subjectWith(profile, null)
  }
  let asks = false
  let reads = false
  for (const [, entry] of entriesOf(deciding, check)) {
    asks ||= asksWho(entry)
    reads ||= !isExperiment(entry) && readsProfile(entry, attributes)
  }
  if (!asks) return anonymous(check)
  const ownerId = reads ? undefined : profiles.peekOwner(user_id)
  return ownerId === undefined
    ? subjectWith(await profiles.glance(user_id), attributes)
    : ownerAlone(ownerId, attributes)
}

const inNoSegment: ReadonlySet<number> = new Set()
const nobody: FlagSubject = { userId: null, attributes: {}, segmentIds: inNoSegment }

function anonymous({ attributes }: FlagCheck): FlagSubject {
  // Rules ask for `id` to name a user, and no call can pretend to be one.
  const { id: _id, ...rest } = attributes ?? {}
  return { userId: null, attributes: rest, segmentIds: inNoSegment, inSegments: new Map() }
}

const ownerAlone = (ownerId: string, attributes: Record<string, Json>): FlagSubject => ({
  userId: ownerId,
  attributes: { ...attributes, id: ownerId },
  segmentIds: inNoSegment,
})

const subjectWith = ({ ownerId, attributes, segmentIds }: UserProfile, more: FlagCheck['attributes']): FlagSubject => ({
  userId: ownerId,
  attributes: more === null ? attributes : { ...attributes, ...more, id: ownerId },
  segmentIds,
  inSegments: new Map(),
})

function evaluateEntry(
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
  const answer = evaluateFlag(entry, subject, Date.now(), (experimentId) => {
    const found = variantIn(experimentId)
    exposure = found?.exposure ?? 'none'
    return found == null ? found : found.variantId
  })
  if (answer === 'user') return 'user needed'
  return typeof answer === 'number' ? answer : { answer, exposure: answer.experiment === null ? 'none' : exposure }
}

/** Finds what was decided already; without a user, what the experiment gives every user. */
function givenTo({ watch }: Deciding, check: FlagCheck, decided: Decided, id: number) {
  if (check.user_id !== null) return decided.get(id)?.given
  const experiment = watch.snapshot().experiments.get(id)
  const settled = experiment && settledForAll(experiment)
  return settled === undefined ? undefined : settled && { variantId: settled.id, exposure: 'none' as const }
}

/** Decides experiments together, by one check. */
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

const exposureOf = ({ exposesOnCheck }: ExperimentDefinition, isStored: boolean, expose: boolean): Exposure =>
  !isStored ? 'none' : expose && exposesOnCheck ? 'recorded' : 'report'

/**
 * Evaluates one flag, exposing the user, from what this process remembers.
 * @returns undefined when anything has to be looked up or stored, or the key is unknown
 */
export function evaluateFromMemory(
  deciding: Deciding,
  key: string,
  userId: string,
  attributes: Record<string, Json>,
): Evaluated | undefined {
  const entry = deciding.watch.snapshot().byKey.get(key)
  if (!entry) return undefined
  if (!isExperiment(entry) && entry.rules.length === 0) return { answer: entry.fallback, exposure: 'none' }
  const subject = isExperiment(entry) ? nobody : remembered(deciding, entry, userId, attributes)
  if (!subject) return undefined
  const check = { user_id: userId, attributes, expose: true }
  const found = evaluateEntry(entry, subject, (id) => {
    const recalled = recallOne(deciding, check, id)
    if (!recalled) return recalled
    return {
      variantId: recalled.variant.id,
      exposure: exposureOf(recalled.experiment, recalled.stored !== undefined, true),
    }
  })
  return typeof found === 'number' ? undefined : found
}

/** Finds the user from memory. @returns undefined where this process does not remember what the flag reads */
function remembered(
  { profiles }: Deciding,
  flag: FlagDefinition,
  userId: string,
  attributes: Record<string, Json>,
): FlagSubject | undefined {
  if (!readsProfile(flag, attributes)) {
    const ownerId = profiles.peekOwner(userId)
    return ownerId === undefined ? undefined : ownerAlone(ownerId, attributes)
  }
  const profile = profiles.peekAnybody(userId)
  return profile && subjectWith(profile, attributes)
}

/** Evaluates flags for REST and tRPC. */
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
