/** A part of a measure, in the shape of `measure_parts`. */
export type MeasurePart = {
  part: 1 | 2
  type: string
  filter: string | null
  property: string | null
  is_count: boolean
  reads: string[]
  /** An event without the property is reported as missing. An event type alone has values only where it likes. */
  is_required: boolean
}

/**
 * The compiled form of a definition: what is added up per user, in the shape of `measures`. The compiler demands a new
 * field in `totals/columns.ts` and `totals/entity.ts`, too.
 */
export type MeasureDefinition = {
  is_binary: boolean
  from_ms: number
  until_ms: number | null
  before_ms: number
  any_tag: boolean
  /** The numbers of each user's events are kept beside their sum, for quantiles. */
  keeps_numbers: boolean
  parts: MeasurePart[]
}
