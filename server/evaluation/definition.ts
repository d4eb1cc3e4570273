import type { FlagAnswer } from './flag.ts'
import type { Range } from './layer.ts'
import type { Targeted, Targeting } from './targeting.ts'

/** What a check answers of a variant. */
type VariantAnswer = { readonly variant_id: number; readonly variant_name: string; readonly payload: unknown }

export type VariantDefinition = {
  readonly id: number
  readonly name: string
  readonly percentAllocated: number
  readonly enabled: boolean
  readonly isControl: boolean
  /** What the user is shown: in A/A mode the control's name and payload under the variant's own id. */
  readonly answer: VariantAnswer
  /** The same as JSON, made once. */
  readonly answerJson: string
  /** The variant whose name and payload are shown: itself, or in A/A mode the control. */
  readonly shownId: number
  /** What it answers where the experiment is read as a flag. */
  readonly asFlag: FlagAnswer
}

type RunDefinition = {
  readonly id: number
  readonly number: number
  readonly period: number
  /** Milliseconds since 1970: the start of a first run that an event started, which an earlier event moves back. */
  readonly movableStart: number | null
}

/** All that deciding one experiment needs, compiled. */
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
  /** In ascending id. */
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
    /** Its current run; null before the first. */
    readonly runId: number | null
    readonly variantIds: ReadonlySet<number>
  }[]
  /** Whether an assigned user who stops matching is left out until they match again. */
  readonly leavesOut: boolean
  /** Attributes kept with a decision, for results to be broken down by. */
  readonly dimensions: readonly string[]
  /** Paths of the attributes that targeting reads. */
  readonly reads: readonly string[]
  /** Segments whose hand-made members targeting reads. */
  readonly readsSegments: readonly number[]
  /** What it answers as a flag whoever is given no variant. */
  readonly codeDefault: FlagAnswer
  /** Above that of its holdout and its prerequisites, so that those are decided first. */
  readonly depth: number
}

/** A stored decision, as far as deciding asks. */
export type StoredVariant = { readonly variantId: number }

/** Who is asking. */
export type Subject = Targeted & {
  /** The id that is drawn: the owner's, where the id asked with is an alias. */
  readonly userId: string
  /** The id asked with. */
  readonly askedId: string
  /** What is stored for the user, by run. */
  readonly runs: ReadonlyMap<number, StoredVariant>
}
