import { isDeepStrictEqual } from 'node:util'

/** Compares the answer that this engine computes from statistics with the answer that was stored with them. */

export type Difference = { path: string; computed: unknown; stored: unknown; isSentence: boolean }

/** The fields of an answer that hold sentences. */
const SENTENCES = ['reason', 'reasons', 'warnings']

/** @param isOther another engine stored the answer; fields that the answer does not have are no difference */
export function findDifferences(computed: unknown, stored: unknown, isOther: boolean, path = 'answer'): Difference[] {
  if (isDeepStrictEqual(computed, stored)) return []
  const isSentence = SENTENCES.some((name) => path.endsWith(`.${name}`))
  if (isSentence || !isBranch(computed) || !isBranch(stored)) return [{ path, computed, stored, isSentence }]
  const names = isOther ? Object.keys(stored) : [...new Set([...Object.keys(computed), ...Object.keys(stored)])]
  return names.flatMap((name) => findDifferences(computed[name], stored[name], isOther, `${path}.${name}`))
}

const isBranch = (value: unknown): value is Record<string, unknown> => typeof value === 'object' && value !== null

const METRIC = String.raw`^answer\.(segments\.\d+\.)?metrics\.\d+`
/** The figures that every engine computes alike: what was asked, and counts and levels of all users of a variant. */
const OF_ALL_ENGINES = [
  /^answer\.(experiment_id|experiment_name|conversion_event_type|confidence_level|significance_threshold)$/,
  /^answer\.(run|state|frozen_at|data_through|method|planned_users|engine_version)$/,
  /^answer\.(externally_decided|claimed_other|crossovers|overridden|excluded_by_(hand|attribute|rate))$/,
  /^answer\.variants\.\d+\.(variant_id|variant_name|is_control|total_users)$/,
  new RegExp(`${METRIC}$`),
  new RegExp(String.raw`${METRIC}\.(key|name|version|role|kind|direction)$`),
  new RegExp(String.raw`${METRIC}\.variants\.\d+\.(variant_id|users|converted|events|unusable|capped|level)$`),
]
/** The documented figures, which every engine computes alike in a run of one allocation period. */
const OF_ONE_PERIOD = /^answer\.(variants|winner)/

/** Tells whether every engine computes the figure at this path alike, so that a difference is a fault. */
export const isOfAllEngines = (path: string, periods: number) =>
  OF_ALL_ENGINES.some((pattern) => pattern.test(path)) || (periods === 1 && OF_ONE_PERIOD.test(path))
