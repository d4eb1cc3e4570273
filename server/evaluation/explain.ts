import type { Clause, Condition } from './condition.ts'
import type { ExperimentDefinition, StoredVariant, Subject } from './definition.ts'
import {
  CHECKS,
  type Decision,
  decideSettled,
  draw,
  drawPosition,
  isLeftOut,
  type LeftOut,
  layerPosition,
  meetsPrerequisite,
  startsOnCheck,
  trafficPosition,
} from './evaluate.ts'
import { inSegmentOf, type Targeted, type Targeting } from './targeting.ts'

/** One test of one attribute: its path in the rule, the expected value, and the user's value. */
export type ExplainedClause = {
  path: (string | number)[]
  attribute: string | null
  operator: string
  expected: unknown
  actual: unknown
  holds: boolean
}

/** One step of a decision, its outcome, and the values that the step read. */
export type Step = {
  step: 'status' | 'override' | 'assignment' | (typeof CHECKS)[number]['name'] | 'allocation'
  outcome: 'passed' | 'answered' | 'left out'
  detail: string
  /** The user's position in [0, 100) of this step's own draw. */
  position?: number
  /** The positions, in per cent, of each variant, or of the share or the traffic: from inclusive, to exclusive. */
  ranges?: { from: number; to: number; variant_id?: number; variant_name?: string; enabled?: boolean }[]
  clauses?: ExplainedClause[]
  segments?: { segment_id: number; member: boolean; holds: boolean; clauses: ExplainedClause[] }[]
}

export type Explanation = { decision: Decision; steps: Step[] }

function statusOf(experiment: ExperimentDefinition): string {
  if (experiment.status !== 'draft') return 'running'
  return startsOnCheck(experiment)
    ? 'a draft that a check would start'
    : 'a draft that no check starts before its variants are ready: see its checklist'
}

/**
 * Explains the decision of a check, step by step. The functions that make decisions make this one too, so the
 * explanation cannot disagree with a check.
 * @param userId the id of the call
 * @param stored the user's decision in the current run, if there is one
 */
export function explain(
  experiment: ExperimentDefinition,
  userId: string,
  stored: StoredVariant | undefined,
  subject: Subject,
): Explanation {
  const settled = decideSettled(experiment, userId, stored)
  if (settled === null) {
    const drawn = explainDraw(experiment, subject)
    const status = `The experiment is ${statusOf(experiment)}`
    return {
      decision: drawn.decision,
      steps: [
        step('status', status),
        step('override', 'The user has no override'),
        step('assignment', 'The user has no assignment in this run: the user is drawn'),
        ...drawn.steps,
      ],
    }
  }
  if (settled.outcome === 'stored' && isLeftOut(experiment, subject)) {
    const checks = explainChecks(experiment, subject, (name) => name === 'condition' || name === 'segments')
    return {
      decision: { outcome: 'left out', reason: 'no longer targeted' },
      steps: [
        step(
          'assignment',
          `The user is assigned to ${settled.variant.name}, and left out until the targeting matches again`,
        ),
        ...checks,
      ],
    }
  }
  return { decision: settled, steps: [settledStep(experiment, settled)] }
}

const step = (name: Step['step'], detail: string): Step => ({ step: name, outcome: 'passed', detail })

const settledBy: Record<Extract<LeftOut, 'archived' | 'completed' | 'paused' | 'draft' | 'variant disabled'>, Step> = {
  archived: { step: 'status', outcome: 'left out', detail: 'The experiment is archived' },
  completed: { step: 'status', outcome: 'left out', detail: 'The experiment is completed and ships no variant' },
  paused: { step: 'status', outcome: 'left out', detail: 'The experiment is paused: new users get no variant' },
  draft: { step: 'status', outcome: 'left out', detail: 'The experiment is a draft that a check does not start' },
  'variant disabled': {
    step: 'assignment',
    outcome: 'left out',
    detail: 'The variant that the user is assigned to is disabled',
  },
}

function settledStep(experiment: ExperimentDefinition, decision: Decision): Step {
  if (decision.outcome === 'left out') return settledBy[decision.reason as keyof typeof settledBy]
  const { name } = decision.variant
  if (decision.outcome === 'overridden')
    return { step: 'override', outcome: 'answered', detail: `An override gives this user the variant ${name}` }
  if (decision.outcome === 'shipped')
    return { step: 'status', outcome: 'answered', detail: `The experiment is completed and ships ${name} to everybody` }
  return {
    step: 'assignment',
    outcome: 'answered',
    detail: `The user is assigned to ${name} in run ${experiment.run?.number} and keeps it whatever changes`,
  }
}

/** Explains how a user is drawn: each check up to the first one that leaves the user out, then the position. */
export function explainDraw(experiment: ExperimentDefinition, subject: Subject): Explanation {
  const decision = draw(experiment, subject)
  const steps = explainChecks(experiment, subject, () => true)
  if (steps.at(-1)?.outcome === 'left out') return { decision, steps }
  return { decision, steps: [...steps, allocationStep(experiment, subject, decision)] }
}

/** Runs the wanted checks in order and describes each, up to the first one that leaves the user out. */
function explainChecks(
  experiment: ExperimentDefinition,
  subject: Subject,
  wanted: (name: Step['step']) => boolean,
): Step[] {
  const steps: Step[] = []
  for (const { name, fails } of CHECKS) {
    if (!wanted(name)) continue
    const reason = fails(experiment, subject)
    steps.push({
      step: name,
      outcome: reason === null ? 'passed' : 'left out',
      ...describe[name](experiment, subject, reason),
    })
    if (reason !== null) break
  }
  return steps
}

type Described = Omit<Step, 'step' | 'outcome'>
type Describe = (experiment: ExperimentDefinition, subject: Subject, reason: LeftOut | null) => Described

const describe: Record<(typeof CHECKS)[number]['name'], Describe> = {
  layer: ({ layer }, subject, reason) => {
    if (layer === null) return { detail: 'The experiment is in no layer' }
    if (reason === 'in another experiment of the layer')
      return { detail: `The user is in another unfinished run of layer ${layer.id}` }
    const position = layerPosition(layer.id, subject)
    const where = reason === null ? 'in' : 'outside'
    const detail = `The user's position in layer ${layer.id} is ${where} the experiment's share`
    return { detail, position, ranges: layer.ranges.map((range) => ({ ...range })) }
  },
  holdout: ({ holdout }, _subject, reason) => {
    if (holdout === null) return { detail: 'The experiment is under no holdout' }
    return { detail: `The user is ${reason === null ? 'not ' : ''}held out by holdout ${holdout.id}` }
  },
  prerequisites: ({ prerequisites }, subject) => {
    if (prerequisites.length === 0) return { detail: 'The experiment has no prerequisites' }
    const details = prerequisites.map((prerequisite) => {
      const met = meetsPrerequisite(prerequisite, subject)
      const variants = [...prerequisite.variantIds].join(' or ')
      return `${met ? 'met' : 'not met'}: assigned to variant ${variants} of experiment ${prerequisite.experimentId}`
    })
    return { detail: details.join('; ') }
  },
  condition: (experiment, subject, reason) => {
    const clauses = explainClauses(experiment.condition, experiment, subject)
    if (clauses.length === 0)
      return { detail: reason === null ? 'The experiment has no condition' : 'The condition matches nobody' }
    return { detail: `The condition ${reason === null ? 'holds' : 'does not hold'}`, clauses }
  },
  segments: (experiment, subject, reason) => {
    if (experiment.segments.length === 0) return { detail: 'The experiment has no segments: everybody may take part' }
    const segments = explainSegments(experiment, subject)
    return { detail: `The user is in ${reason === null ? 'at least one' : 'none'} of the segments`, segments }
  },
  traffic: (experiment, subject, reason) => {
    const { trafficPercent } = experiment
    if (trafficPercent >= 100) return { detail: 'All eligible users take part' }
    return {
      detail: `The user's position is ${reason === null ? 'in' : 'outside'} the traffic of ${trafficPercent} %`,
      position: trafficPosition(experiment, subject),
      ranges: [{ from: 0, to: trafficPercent }],
    }
  },
}

/** Explains each segment of a targeting: hand-made membership, and the rules with their clauses. */
export const explainSegments = (targeting: Targeting, targeted: Targeted): NonNullable<Step['segments']> =>
  targeting.segments.map(({ id, condition }) => ({
    segment_id: id,
    member: targeted.segmentIds.has(id),
    holds: condition.holds(targeted.attributes, inSegmentOf(targeting, targeted), targeted.at),
    clauses: explainClauses(condition, targeting, targeted),
  }))

/** Explains each test of a condition: the expected value, the user's value, and the outcome. */
export function explainClauses(condition: Condition, targeting: Targeting, targeted: Targeted): ExplainedClause[] {
  const inSegment = inSegmentOf(targeting, targeted)
  return condition.clauses.map((clause: Clause) => ({
    path: [...clause.path],
    attribute: clause.attribute,
    operator: clause.operator,
    expected: clause.expected,
    actual: clause.actual(targeted.attributes) ?? null,
    holds: clause.holds(targeted.attributes, inSegment, targeted.at),
  }))
}

function allocationStep(experiment: ExperimentDefinition, subject: Subject, decision: Decision): Step {
  const ranges = variantRanges(experiment)
  const position = drawPosition(experiment, subject)
  const run = `run ${experiment.run?.number ?? 1}, period ${experiment.run?.period ?? 1}`
  if (decision.outcome === 'left out') {
    const detail =
      decision.reason === 'variant disabled'
        ? `The user's position (${run}) is in the range of a disabled variant`
        : `The user's position (${run}) is beyond the allocation`
    return { step: 'allocation', outcome: 'left out', detail, position, ranges }
  }
  const detail = `The user's position (${run}) is in the range of ${decision.variant.name}`
  return { step: 'allocation', outcome: 'answered', detail, position, ranges }
}

function variantRanges({ variants }: ExperimentDefinition): NonNullable<Step['ranges']> {
  let from = 0
  return variants.map((variant) => {
    const to = Math.round((from + variant.percentAllocated) * 10_000) / 10_000
    const range = { from, to, variant_id: variant.id, variant_name: variant.name, enabled: variant.enabled }
    from = to
    return range
  })
}
