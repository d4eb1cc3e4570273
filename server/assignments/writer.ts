import type { MikroORM } from '@mikro-orm/sql'
import { createGroupCommit } from '../database/group-commit.ts'
import { fenceProfiles } from '../definitions/profile-fence.ts'
import { lockVersions } from '../definitions/queries.ts'
import type { Watch } from '../definitions/watch.ts'
import { type AssignmentMemory, type Remembered, rememberedOf } from './memory.ts'
import {
  type AssignmentKey,
  exposeAssignments,
  insertAssignments,
  type NewAssignment,
  readAssignments,
  type StoredAssignment,
} from './queries.ts'

/** Stores decisions and exposures. Calls that arrive within two milliseconds share one transaction. */
export type AssignmentWriter = {
  /**
   * Stores a decision.
   * @returns the stored decision, which is another one if a concurrent call was first; 'moved' if the experiment
   * changed or the user was erased or joined since the decision, so that the caller has to decide again
   */
  store: (assignment: NewAssignment) => Promise<Remembered | 'moved'>
  /** Stores the exposure of an assignment, unless an exposure is stored already. */
  expose: (key: AssignmentKey) => Promise<void>
  /** Waits until nothing is left to store. */
  drained: () => Promise<unknown>
}

const keyOf = ({ run_id, user_id }: AssignmentKey) => `${run_id}:${user_id}`

/** Makes the writer. @param options.concurrency the most transactions at once, for decisions and again for exposures */
export function createAssignmentWriter(options: {
  orm: MikroORM
  memory: AssignmentMemory
  watch: Watch
  concurrency: number
}): AssignmentWriter {
  const { orm, memory, watch } = options
  const limits = { waitMs: 2, maxWeight: 500, maxWaiting: 20_000, concurrency: options.concurrency }

  const stores = createGroupCommit<NewAssignment, Remembered | 'moved'>({
    ...limits,
    write: async (items) => {
      const profilesVersion = watch.profilesVersion()
      const { current, stored } = await orm.em.fork().transactional(async (em) => {
        const hasChanged = await fenceProfiles(em, items)
        const versions = await lockVersions(em, [...new Set(items.map((item) => item.experiment_id))])
        const current = items.filter(
          (item) => versions.get(item.experiment_id) === item.definition_version && !hasChanged(item),
        )
        const distinct = new Map<string, NewAssignment>()
        for (const item of current) {
          const sameKey = distinct.get(keyOf(item))
          if (!sameKey || (item.expose && !sameKey.expose)) distinct.set(keyOf(item), item)
        }
        const inserted = distinct.size > 0 ? await insertAssignments(em, [...distinct.values()]) : []
        const stored = new Map(inserted.map((row) => [keyOf(row), row]))
        const others = [...distinct.values()].filter((item) => !stored.has(keyOf(item)))
        if (others.length > 0) for (const row of await readAssignments(em, others)) stored.set(keyOf(row), row)
        return { current: new Set(current), stored }
      })
      memory.remember([...stored.values()], profilesVersion)
      return items.map((item) => {
        const row = current.has(item) ? stored.get(keyOf(item)) : undefined
        return row ? rememberedOf(row) : 'moved'
      })
    },
  })

  const exposures = createGroupCommit<AssignmentKey, StoredAssignment | undefined>({
    ...limits,
    write: async (items) => {
      const profilesVersion = watch.profilesVersion()
      const distinct = [...new Map(items.map((item) => [keyOf(item), item])).values()]
      const rows = await orm.em.fork().transactional(async (em) => {
        await exposeAssignments(em, distinct)
        return readAssignments(em, distinct)
      })
      memory.remember(rows, profilesVersion)
      const byKey = new Map(rows.map((row) => [keyOf(row), row]))
      return items.map((item) => byKey.get(keyOf(item)))
    },
  })

  return {
    store: stores.add,
    expose: async (key) => void (await exposures.add(key)),
    drained: () => Promise.all([stores.drained(), exposures.drained()]),
  }
}
