import { unknownField } from '../fields.ts'
import type { Evaluated, Exposure } from '../flags/evaluate.ts'
import { ATTRIBUTE_LIMITS, isUserId, type Json, jsonFault, userId } from '../wire.ts'
import type { ErrorCode, OfrepEvaluation, OfrepFailure } from './ofrep-schema.ts'

/**
 * Reads the requests and writes the answers of OFREP:
 * https://openfeature.dev/docs/reference/other-technologies/ofrep/openapi
 */

/** The error of an evaluation, with the status and the code of the protocol. */
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
 * Reads the evaluation context of a body. Its targetingKey is the user's id; all other fields are attributes for this
 * call. A targetingKey that is null or empty counts as missing.
 * @param lenient true: unknown fields beside the context are ignored
 * @throws OfrepFault PARSE_ERROR when the body is not an object or has an unknown field, INVALID_CONTEXT when its context is not usable
 */
export function readContext(body: unknown, lenient = false): EvaluationContext {
  if (body == null) return { userId: null, attributes: {} }
  if (!isObject(body)) throw new OfrepFault(400, 'PARSE_ERROR', 'The body must be a JSON object')
  if (!lenient) expectKnown(body, ['context'])
  const context = body.context ?? {}
  if (!isObject(context)) throw new OfrepFault(400, 'INVALID_CONTEXT', 'context must be an object')
  const { targetingKey = null, ...attributes } = context
  const fault = jsonFault(attributes, ATTRIBUTE_LIMITS)
  if (fault) throw new OfrepFault(400, 'INVALID_CONTEXT', `context: ${fault}`)
  if (targetingKey === null || targetingKey === '')
    return { userId: null, attributes: attributes as Record<string, Json> }
  if (!isUserId(targetingKey)) {
    const [issue] = userId.safeParse(targetingKey).error?.issues ?? []
    throw new OfrepFault(400, 'INVALID_CONTEXT', `context.targetingKey: ${issue?.message}`)
  }
  return { userId: targetingKey, attributes: attributes as Record<string, Json> }
}

/** @throws OfrepFault that names the first unknown field of a body or a query */
export function expectKnown(given: Record<string, unknown>, known: readonly string[]) {
  for (const name in given)
    if (!known.includes(name)) throw new OfrepFault(400, 'PARSE_ERROR', unknownField(name, known))
}

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

type Answered = Exclude<Evaluated, string>

/** The JSON of each answer, by exposure. A snapshot returns the same answer objects again and again. */
const written = new WeakMap<Answered['answer'], { [Kind in Exposure]?: string }>()

/**
 * Writes a successful evaluation as JSON. Without a `value` the application uses its own default. `metadata.exposure`
 * says that this call recorded the exposure, or that the application has to report it when the user sees the variant.
 * @param whose the user id of a bulk evaluation. An exposure to report names this user, because the client keeps the
 *   answers and its page may change the user before it reports
 */
export function successJson(answered: Answered, whose?: string | null): string {
  const json = cachedJson(answered)
  if (answered.exposure !== 'report' || whose == null) return json
  // The metadata is the last field, so the user id can be appended to the JSON that all users share.
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
          // Clients report an exposure once per run, so they need the id of the run.
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

/** Writes a failed evaluation as JSON. @param key the key of the flag; undefined for a bulk evaluation */
export function failureJson(key: string | undefined, errorCode: ErrorCode, errorDetails: string): string {
  const failure: OfrepFailure = { key, errorCode, errorDetails }
  return JSON.stringify(failure)
}

export const TARGETING_KEY_MISSING = "The flag needs a user: pass the user's id as context.targetingKey"
