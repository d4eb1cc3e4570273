import type { FlagAnswer } from './flag.ts'
import type { Range } from './layer.ts'
import type { ProfileReads, Targeted, Targeting } from './targeting.ts'

/** The part of a check's answer that describes the variant. */
type VariantAnswer = { readonly variant_id: number; readonly variant_name: string; readonly payload: unknown }

export type VariantDefinition = {
  readonly id: number
  readonly name: string
  readonly percentAllocated: number
  readonly enabled: boolean
  readonly isControl: boolean
  /** The answer to the user. In A/A mode it has the control's name and payload under the variant's own id. */
  readonly answer: VariantAnswer
  /** `answer` as JSON, written once. */
  readonly answerJson: string
  /** The id of the variant whose name and payload are shown: this variant, or in A/A mode the control. */
  readonly shownId: number
  /** The answer to a caller that reads the experiment as a flag. */
  readonly asFlag: FlagAnswer
}

type RunDefinition = {
  readonly id: number
  readonly number: number
  readonly period: number
  /**
   * The start of a first run that an event started, in milliseconds since 1970. An earlier event moves this start back.
   * Null for every other run.
   */
  readonly movableStart: number | null
}

/** Everything that the decision of one experiment needs, compiled. */
export type ExperimentDefinition = Targeting & {
  readonly id: number
  readonly key: string
  readonly version: number
  readonly kind: 'experiment' | 'holdout'
  readonly status: 'draft' | 'running' | 'paused' | 'completed' | 'archived'
  readonly autoStart: boolean
  readonly exposesOnCheck: boolean
  readonly trafficPercent: number
  readonly shippedVariantId: number | null
  /** The current run and its current period; null before the first start. */
  readonly run: RunDefinition | null
  /** In ascending order of their ids. */
  readonly variants: readonly VariantDefinition[]
  /** Forced variants, by user id. */
  readonly overrides: ReadonlyMap<string, number>
  readonly layer: {
    readonly id: number
    readonly ranges: readonly Range[]
    /** The unfinished runs of the layer's other experiments. */
    readonly otherRunIds: readonly number[]
  } | null
  readonly holdout: ExperimentDefinition | null
  readonly prerequisites: readonly {
    readonly experimentId: number
    /** The other experiment's current run; null before its first run. */
    readonly runId: number | null
    readonly variantIds: ReadonlySet<number>
  }[]
  /** True if an assigned user who stops matching gets no variant until they match again. */
  readonly leavesOut: boolean
  readonly profileReads: ProfileReads
  /** Attributes that are stored with a decision; results can be broken down by them. */
  readonly dimensions: readonly string[]
  /** Paths of the attributes that targeting reads. */
  readonly reads: readonly string[]
  /** Segments whose hand-made members targeting reads. */
  readonly readsSegments: readonly number[]
  /** The answer to a caller that reads the experiment as a flag, for a user without a variant. */
  readonly codeDefault: FlagAnswer
  /**
   * Greater than the depth of the holdout and of each prerequisite. Experiments are decided in order of their depth.
   */
  readonly depth: number
}

/** The part of a stored decision that deciding reads. */
export type StoredVariant = { readonly variantId: number }

/** The user of a decision. */
export type Subject = Targeted & {
  /** The id that is drawn: the id of the call, or the owner's id if the id of the call is an alias. */
  readonly userId: string
  /** The id of the call. */
  readonly askedId: string
  /** The user's stored decisions, by run id. */
  readonly runs: ReadonlyMap<number, StoredVariant>
}
