import type { EntityManager } from '@mikro-orm/sql'
import { explainDecision, ownerAt } from '../assignments/explain.ts'
import { compileSegments, compileVariants } from '../definitions/compile.ts'
import { compileFlag } from '../definitions/compile-flag.ts'
import { readFlagAt } from '../definitions/flag-queries.ts'
import { readClock, readHistoryAt } from '../definitions/queries.ts'
import { invalid, notFound } from '../errors.ts'
import { mergeAttributes } from '../evaluation/condition.ts'
import { explainFlag } from '../evaluation/explain-flag.ts'
import type { ProfileCache } from '../users/profile-cache.ts'
import type { Json } from '../wire.ts'
import type { ExplainFlag, FlagExplanation } from './schema.ts'

/** How far the caller's clock may be ahead of the database's. */
const AHEAD_MS = 1000

/**
 * Explains rule by rule why a user gets a value. The flag is read as it was at a time, the profile as it is now. The
 * explanation stores nothing, and evaluates by the same functions as an evaluation.
 * @throws DomainError NOT_FOUND if no flag had the key at the time, BAD_REQUEST for a time in the future
 */
export async function explainEvaluation(
  em: EntityManager,
  profiles: ProfileCache,
  input: ExplainFlag,
): Promise<FlagExplanation> {
  const at = await timeOf(em, input)
  const { definition: stored, segments: storedSegments, ...inForce } = await flagAt(em, input, at)
  const profile = await profiles.read(input.user_id)
  const ownerId = await ownerAt(em, input.user_id, at)
  // A past owner whose aliases were joined to another person has drawn by its own id.
  const drawId = ownerId === profile.ownerId ? profile.drawId : ownerId
  const experimentIds = [...new Set(stored.rules.flatMap(({ experiment }) => experiment?.experiment_id ?? []))]
  const history = await readHistoryAt(em, experimentIds, at)
  const experiments = await Promise.all(
    history.map(({ experiment_id }) => {
      const { user_id, attributes } = input
      return explainDecision(em, profiles, { experiment_id, user_id, attributes, at: new Date(at) })
    }),
  )

  const warnings: string[] = []
  const onBadRule = (where: string, error: unknown) => {
    warnings.push(`The rule of ${where} does not compile, so it matches nobody: ${(error as Error).message}`)
  }
  const surroundings = {
    segments: compileSegments(storedSegments, onBadRule),
    experiments: new Map(history.map((row) => [row.experiment_id, { variants: compileVariants(row.definition) }])),
  }
  const flag = compileFlag(stored, surroundings, onBadRule)
  if (!profile.known && !input.attributes)
    warnings.push('This user is unknown: an evaluation without attributes answers 404')
  // Evaluating a flag starts no experiment, so a draft answers only by an override.
  const variants = new Map(
    experiments.map((found) => [found.experiment_id, found.outcome === 'preview' ? null : found.variant_id]),
  )
  const subject = {
    userId: drawId,
    attributes: { ...mergeAttributes(profile.attributes, input.attributes ?? {}), id: ownerId },
    segmentIds: profile.segmentIds,
    at,
  }
  const { answer, steps, segments } = explainFlag(flag, subject, (id) => variants.get(id) ?? null)
  if (answer === 'user') throw new Error('The flag asks for a user, although the call names one')
  return {
    key: input.key,
    user_id: input.user_id,
    decided_as: drawId,
    at: new Date(at),
    definition: { version: inForce.version, from: new Date(inForce.from) },
    ...(answer.value === undefined ? {} : { value: answer.value as Json }),
    reason: answer.reason,
    rule: answer.rule,
    variant_id: answer.experiment?.variantId ?? null,
    steps: steps as FlagExplanation['steps'],
    segments: segments as FlagExplanation['segments'],
    warnings,
    experiments,
  }
}

/** Gets the time to explain, in milliseconds since 1970: the given time, or now. */
async function timeOf(em: EntityManager, { at }: ExplainFlag): Promise<number> {
  const now = (await readClock(em)).getTime()
  if (at && at.getTime() > now + AHEAD_MS)
    throw invalid(`${at.toISOString()} is in the future: give a time up to now`, 'at')
  return Math.min(at?.getTime() ?? now, now)
}

/** Reads the flag as it was at a time in milliseconds since 1970. @throws DomainError NOT_FOUND */
async function flagAt(em: EntityManager, { key, at: asked }: ExplainFlag, at: number) {
  const found = await readFlagAt(em, key, at)
  if (!found?.definition) throw notFound('Flag', `${key}${asked ? ' at that time' : ''}`)
  return { ...found, definition: found.definition }
}
