import { pickByPosition } from './allocation.ts'
import { position, rolloutText } from './position.ts'
import { isInSegment, meetsCondition, type ProfileReads, type Targeted, type Targeting } from './targeting.ts'

export type FlagType = 'boolean' | 'string' | 'number' | 'object'
/**
 * The reasons of an answer, by OpenFeature's names. STATIC: the default, without a matching rule. TARGETING_MATCH: a
 * rule with one value. SPLIT: a rollout or an experiment, or the default for a user beyond the shares of a rollout.
 * DISABLED: the flag is switched off.
 */
export type FlagReason = 'STATIC' | 'TARGETING_MATCH' | 'SPLIT' | 'DISABLED'

export type FlagAnswer = {
  readonly key: string
  readonly reason: FlagReason
  /** JSON; undefined makes the application use its own default. */
  readonly value: unknown
  /** The id of the rule that answered; null for the flag's default. */
  readonly rule: string | null
  /** The experiment that decided, with the name of the variant that the user is shown; null without an experiment. */
  readonly experiment: {
    readonly id: number
    /** The experiment's current run; null before its first start. */
    readonly runId: number | null
    readonly variantId: number
    readonly variantName: string
  } | null
}

/** The values that a rule gives to the users who match it: one value, a rollout, or a value per variant. */
export type Serve =
  | { readonly kind: 'value'; readonly answer: FlagAnswer }
  | {
      readonly kind: 'rollout'
      readonly shares: readonly { readonly percentAllocated: number; readonly answer: FlagAnswer }[]
    }
  | {
      readonly kind: 'experiment'
      readonly experimentId: number
      /** By variant id. */
      readonly answers: ReadonlyMap<number, FlagAnswer>
    }

export type FlagRule = Targeting & {
  readonly id: string
  /** The rule is in force from `from`, inclusive, to `until`, exclusive: milliseconds since 1970. */
  readonly from: number
  readonly until: number
  readonly serve: Serve
}

/** Everything that the evaluation of one flag needs, compiled. */
export type FlagDefinition = {
  readonly key: string
  readonly version: number
  readonly type: FlagType
  /** The answer if no rule answers, and the only answer of a flag that is switched off. */
  readonly fallback: FlagAnswer
  /** The answer if no rule answers and the user's position was beyond the shares of a rollout. */
  readonly beyondShares: FlagAnswer
  /** In the order of their evaluation; empty if the flag is switched off. */
  readonly rules: readonly FlagRule[]
  readonly profileReads: ProfileReads
}

/** The user of an evaluation. Without an id, only the attributes of the call are known. */
export type FlagSubject = Targeted & {
  /** The id that draws rollouts: the first id of this person that the platform knew. */
  readonly userId: string | null
}

/**
 * Looks up the variant of the user in an experiment.
 * @returns the variant's id; null if the user gets no variant, undefined if the experiment is not decided yet
 */
export type VariantIn = (experimentId: number) => number | null | undefined

/**
 * Evaluates a flag. The first rule answers that is in force, matches the user and has a value for them; otherwise the
 * flag's default value answers.
 * @returns an experiment's id if this experiment must be decided first; 'user' if a rollout needs a user id
 */
export function evaluateFlag(
  flag: FlagDefinition,
  subject: FlagSubject,
  variantIn: VariantIn,
): FlagAnswer | number | 'user' {
  let wasSplit = false
  for (const rule of flag.rules) {
    if (!isFor(rule, subject)) continue
    const answer = answerOf(flag.key, rule, subject, variantIn)
    if (answer !== null) return answer
    wasSplit ||= rule.serve.kind === 'rollout'
  }
  return wasSplit ? flag.beyondShares : flag.fallback
}

export const isInForce = ({ from, until }: FlagRule, at: number): boolean => from <= at && at < until

const isFor = (rule: FlagRule, subject: FlagSubject): boolean =>
  isInForce(rule, subject.at) && meetsCondition(rule, subject) && isInSegment(rule, subject)

/**
 * Computes the answer of a rule to a user who matches it.
 * @returns null if the user's position is beyond the rollout, or the experiment gives no variant: the next rule applies
 */
export function answerOf(
  key: string,
  { id, serve }: FlagRule,
  { userId }: FlagSubject,
  variantIn: VariantIn,
): FlagAnswer | number | 'user' | null {
  switch (serve.kind) {
    case 'value':
      return serve.answer
    case 'rollout':
      if (userId === null) return 'user'
      return pickByPosition(serve.shares, rolloutPosition(key, id, userId))?.answer ?? null
    case 'experiment': {
      const variantId = variantIn(serve.experimentId)
      if (variantId === undefined) return serve.experimentId
      return (variantId !== null && serve.answers.get(variantId)) || null
    }
  }
}

export const rolloutPosition = (key: string, ruleId: string, userId: string): number =>
  position(rolloutText(userId, key, ruleId))
