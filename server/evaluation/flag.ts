import { pickByPosition } from './allocation.ts'
import { position, rolloutText } from './position.ts'
import { isInSegment, meetsCondition, type Targeted, type Targeting } from './targeting.ts'

export type FlagType = 'boolean' | 'string' | 'number' | 'object'
/** OpenFeature's names: nothing was looked at, a rule matched, a draw decided, the flag is off. */
export type FlagReason = 'STATIC' | 'TARGETING_MATCH' | 'SPLIT' | 'DISABLED'

export type FlagAnswer = {
  readonly key: string
  readonly reason: FlagReason
  /** JSON; undefined leaves it to the application's own default. */
  readonly value: unknown
  /** The rule that answered. */
  readonly rule: string | null
  /** The experiment that decided, with the variant as the user is shown it. */
  readonly experiment: {
    readonly id: number
    /** Its current run; null before the first start. */
    readonly runId: number | null
    readonly variantId: number
    readonly variantName: string
  } | null
}

/** What a rule gives to whom it is for. */
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
  /** Milliseconds since 1970, half-open. */
  readonly from: number
  readonly until: number
  readonly serve: Serve
}

/** All that evaluating one flag needs, compiled. */
export type FlagDefinition = {
  readonly key: string
  readonly version: number
  readonly type: FlagType
  /** Of a flag that is switched off, the only one. */
  readonly fallback: FlagAnswer
  /** In their order; none where the flag is off. */
  readonly rules: readonly FlagRule[]
  /** The attributes that rules read, by the first step of their paths, other than the id. */
  readonly reads: readonly string[]
  /** Whether hand-made memberships decide. */
  readonly readsSegments: boolean
}

/** Who is asking; of somebody who gives no id nothing is known but the attributes. */
export type FlagSubject = Targeted & {
  /** The id that is drawn: the owner's, where the id asked with is an alias. */
  readonly userId: string | null
}

/**
 * The variant that a user is given in an experiment.
 * @returns its id; null where they are given none, undefined where that is not decided yet
 */
export type VariantIn = (experimentId: number) => number | null | undefined

/**
 * Evaluates a flag: the first rule in force that is for the user and has something for them answers, otherwise the flag's
 * default value.
 * @param at milliseconds since 1970
 * @returns an experiment's id where that has to be decided first; 'user' where it takes a user id to draw
 */
export function evaluateFlag(
  flag: FlagDefinition,
  subject: FlagSubject,
  at: number,
  variantIn: VariantIn,
): FlagAnswer | number | 'user' {
  for (const rule of flag.rules) {
    if (!isFor(rule, subject, at)) continue
    const answer = answerOf(flag.key, rule, subject, variantIn)
    if (answer !== null) return answer
  }
  return flag.fallback
}

/** Whether anything is asked of the user that the call's attributes do not say, so that it takes what is stored of them. */
export function readsProfile({ reads, readsSegments }: FlagDefinition, attributes: Targeted['attributes']): boolean {
  if (readsSegments) return true
  for (const name of reads) if (!Object.hasOwn(attributes, name)) return true
  return false
}

export const isInForce = ({ from, until }: FlagRule, at: number): boolean => from <= at && at < until

const isFor = (rule: FlagRule, subject: FlagSubject, at: number): boolean =>
  isInForce(rule, at) && meetsCondition(rule, subject) && isInSegment(rule, subject)

/** What a rule has for a user whom it is for; null where their draw, or the experiment, leaves them to the next rule. */
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
