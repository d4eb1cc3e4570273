import { isReferenceKey } from '../definitions/reference-schema.ts'
import { experimentIds } from '../definitions/references.ts'
import type { Watch } from '../definitions/watch.ts'

/**
 * Replaces the keys of experiments that events name by ids. An event with an unknown key is left as it is, and
 * the schema rejects it.
 */
export async function withIds(watch: Watch, items: readonly unknown[]): Promise<readonly unknown[]> {
  const keyOf = (item: unknown) => {
    if (typeof item !== 'object' || item === null || !Object.hasOwn(item, 'experiment_id')) return undefined
    const { experiment_id } = item as { experiment_id: unknown }
    return isReferenceKey(experiment_id) ? experiment_id : undefined
  }
  const keys = items.flatMap((item) => keyOf(item) ?? [])
  if (keys.length === 0) return items
  const ids = await experimentIds(watch, keys)
  return items.map((item) => {
    const key = keyOf(item)
    return key === undefined || !ids.has(key) ? item : { ...(item as object), experiment_id: ids.get(key) }
  })
}
