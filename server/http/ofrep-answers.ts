import type { Evaluated, Exposure } from '../flags/evaluate.ts'
import { ATTRIBUTE_LIMITS, type Json, jsonFault, userId } from '../wire.ts'
import type { ErrorCode, OfrepEvaluation, OfrepFailure } from './ofrep-schema.ts'

/** How OFREP's requests are read and its answers written: https://openfeature.dev/docs/reference/other-technologies/ofrep/openapi */

/** What an evaluation is refused with. */
export class OfrepFault extends Error {
  readonly status: number
  readonly errorCode: ErrorCode

  constructor(status: number, errorCode: ErrorCode, message: string) {
    super(message)
    this.status = status
    this.errorCode = errorCode
  }
}

type EvaluationContext = { userId: string | null; attributes: Record<string, Json> }

/**
 * Reads the evaluation context of a body: its targetingKey is the user's id, all else attributes of the call. Null means
 * the same as leaving out, and so does an empty targetingKey.
 * @throws OfrepFault PARSE_ERROR or INVALID_CONTEXT
 */
export function readContext(body: unknown): EvaluationContext {
  if (body == null) return { userId: null, attributes: {} }
  if (!isObject(body)) throw new OfrepFault(400, 'PARSE_ERROR', 'The body must be a JSON object')
  const context = body.context ?? {}
  if (!isObject(context)) throw new OfrepFault(400, 'INVALID_CONTEXT', 'context must be an object')
  const { targetingKey = null, ...attributes } = context
  const fault = jsonFault(attributes, ATTRIBUTE_LIMITS)
  if (fault) throw new OfrepFault(400, 'INVALID_CONTEXT', `context: ${fault}`)
  if (targetingKey === null || targetingKey === '')
    return { userId: null, attributes: attributes as Record<string, Json> }
  const parsed = userId.safeParse(targetingKey)
  if (!parsed.success) {
    const [issue] = parsed.error.issues
    throw new OfrepFault(400, 'INVALID_CONTEXT', `context.targetingKey: ${issue?.message}`)
  }
  return { userId: parsed.data, attributes: attributes as Record<string, Json> }
}

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

type Answered = Exclude<Evaluated, string>

/** JSON of answers; those of one snapshot are the same objects again and again. */
const written = new WeakMap<Answered['answer'], { [Kind in Exposure]?: string }>()

/**
 * A successful evaluation as JSON: without a `value` the application uses its own default. `metadata.exposure` tells
 * whether this call recorded that the user met the variant, or the application is to report it when shown.
 * @param whose whom answers that are kept are for: while a page changes its user, what is to be reported tells whose it is
 */
export function successJson(answered: Answered, whose?: string | null): string {
  const json = cachedJson(answered)
  if (answered.exposure !== 'report' || whose == null) return json
  // The metadata stands last, so that this can be added to what is written once for all users.
  return `${json.slice(0, -2)},"targeting_key":${JSON.stringify(whose)}}}`
}

function cachedJson({ answer, exposure }: Answered): string {
  let forms = written.get(answer)
  if (!forms) {
    forms = {}
    written.set(answer, forms)
  }
  forms[exposure] ??= write(answer, exposure)
  return forms[exposure]
}

function write({ key, reason, value, rule, experiment }: Answered['answer'], exposure: Exposure): string {
  const metadata = {
    ...(rule === null ? {} : { rule }),
    ...(experiment === null
      ? {}
      : {
          experiment_id: experiment.id,
          variant_id: experiment.variantId,
          variant_name: experiment.variantName,
          // What is shown again in a new run is exposed again.
          ...(experiment.runId === null ? {} : { run_id: experiment.runId }),
          exposure,
        }),
  }
  const evaluation: OfrepEvaluation = {
    key,
    reason,
    ...(experiment === null ? {} : { variant: experiment.variantName }),
    value,
    ...(Object.keys(metadata).length === 0 ? {} : { metadata }),
  }
  return JSON.stringify(evaluation)
}

/** @param key of the flag; a bulk evaluation has none */
export function failureJson(key: string | undefined, errorCode: ErrorCode, errorDetails: string): string {
  const failure: OfrepFailure = { key, errorCode, errorDetails }
  return JSON.stringify(failure)
}

export const TARGETING_KEY_MISSING = 'This flag takes a targetingKey: the id of the user'
