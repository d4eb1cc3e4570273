/**
 * A response shape of the specification, in its own words: `int`, `float`, `str`, `bool`, `datetime`, `dict`,
 * `Optional[…]`, `List[…]`. A name in brackets is one of the shapes below. Any other text must match literally.
 */
export type Shape = { readonly [field: string]: string | Shape }

const experiment = {
  id: 'int',
  name: 'str',
  description: 'Optional[str]',
  status: 'ExperimentStatus',
  created_at: 'datetime',
  started_at: 'Optional[datetime]',
  ended_at: 'Optional[datetime]',
} as const satisfies Shape

export const shapes = {
  ApiKeyResponse: {
    id: 'int',
    key: 'str',
    name: 'str',
    is_active: 'bool',
    created_at: 'datetime',
    last_used_at: 'Optional[datetime]',
  },
  ExperimentResponse: experiment,
  ExperimentDetailResponse: {
    ...experiment,
    variants: 'List[VariantResponse]',
    segments: 'List[SegmentResponse]',
  },
  VariantResponse: { id: 'int', experiment_id: 'int', name: 'str', percent_allocated: 'float', created_at: 'datetime' },
  EligibilityResponse: { eligible_experiment_ids: 'dict[experiment_id, EligibleVariant]' },
  EligibleVariant: { variant_id: 'int' },
  ResultsResponse: {
    experiment_id: 'int',
    experiment_name: 'str',
    conversion_event_type: 'str',
    confidence_level: 'float',
    significance_threshold: 'float',
    variants: 'List[VariantResult]',
    winner: 'Optional[Winner]',
  },
  // The specification names these two shapes without their fields, which come from the original platform.
  VariantResult: {
    variant_id: 'int',
    variant_name: 'str',
    conversions: 'int',
    total_users: 'int',
    conversion_rate: 'float',
    confidence_interval: { lower: 'float', upper: 'float' },
    p_value: 'Optional[float]',
    is_significant: 'Optional[bool]',
    relative_uplift: 'Optional[float]',
    is_control: 'bool',
  },
  Winner: { variant_id: 'int', variant_name: 'str', relative_uplift: 'float' },
  SegmentResponse: {
    id: 'int',
    name: 'str',
    description: 'Optional[str]',
    rules: 'Optional[dict]',
    created_at: 'datetime',
  },
  UserResponse: {
    id: 'str',
    first_name: 'str',
    last_name: 'str',
    email: 'str',
    is_premium: 'bool',
    country_code: 'Optional[str]',
    created_at: 'datetime',
  },
  EventResponse: {
    id: 'int',
    user_id: 'str',
    experiment_id: 'Optional[int]',
    variant_id: 'Optional[int]',
    type: 'str',
    timestamp: 'datetime',
    properties: 'Optional[dict]',
  },
} as const satisfies Record<string, Shape>

const STATUSES = ['draft', 'running', 'paused', 'completed', 'archived']
const TIME = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/

const isDict = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

const scalars: Record<string, (value: unknown) => boolean> = {
  int: Number.isSafeInteger,
  float: Number.isFinite,
  str: (value) => typeof value === 'string',
  bool: (value) => typeof value === 'boolean',
  dict: isDict,
  datetime: (value) => typeof value === 'string' && TIME.test(value) && !Number.isNaN(Date.parse(value)),
  ExperimentStatus: (value) => typeof value === 'string' && STATUSES.includes(value),
}

/** @returns the type between the brackets of `Optional[…]`, `List[…]` or `dict[experiment_id, …]` */
const within = (type: string, outer: string) =>
  type.startsWith(`${outer}[`) && type.endsWith(']') ? type.slice(outer.length + 1, -1) : undefined

/** Lists every difference between a value and its documented type. Undocumented fields are allowed. */
export function faultsOf(value: unknown, type: string | Shape, path = 'answer'): string[] {
  if (typeof type !== 'string') {
    if (!isDict(value)) return [`${path} is not an object: ${JSON.stringify(value)}`]
    return Object.entries(type).flatMap(([field, inner]) =>
      Object.hasOwn(value, field) ? faultsOf(value[field], inner, `${path}.${field}`) : [`${path}.${field} is absent`],
    )
  }
  const optional = within(type, 'Optional')
  if (optional) return value === null ? [] : faultsOf(value, optional, path)
  const item = within(type, 'List')
  if (item) {
    if (!Array.isArray(value)) return [`${path} is not a list: ${JSON.stringify(value)}`]
    return value.flatMap((element, index) => faultsOf(element, item, `${path}[${index}]`))
  }
  const entry = within(type, 'dict')?.split(', ')[1]
  if (entry) {
    if (!isDict(value)) return [`${path} is not a dictionary: ${JSON.stringify(value)}`]
    return Object.entries(value).flatMap(([key, inner]) => [
      ...(/^[1-9]\d*$/.test(key) ? [] : [`${path} has the key ${key}, which is not an id`]),
      ...faultsOf(inner, entry, `${path}.${key}`),
    ])
  }
  const named = (shapes as Record<string, Shape>)[type]
  if (named) return faultsOf(value, named, path)
  const holds = scalars[type] ?? ((given) => given === type)
  return holds(value) ? [] : [`${path} is not ${type}: ${JSON.stringify(value)}`]
}
