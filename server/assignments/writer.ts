import type { MikroORM } from '@mikro-orm/sql'
import { createGroupCommit } from '../database/group-commit.ts'
import type { Watch } from '../definitions/watch.ts'
import { type AssignmentMemory, type Remembered, rememberedOf } from './memory.ts'
import { type AssignmentKey, exposeAssignments, readAssignments, type StoredAssignment } from './queries.ts'
import { type NewAssignment, storeDecisions } from './store-decisions.ts'

/**
 * Stores decisions and exposures. Nothing waits while fewer than `concurrency` transactions are under way; calls that
 * arrive meanwhile share the next one.
 */
export type AssignmentWriter = {
  /**
   * Stores a decision.
   * @returns the stored decision, which is another one if a concurrent call was first; 'moved' if the experiment
   * changed, the user was erased or joined since the decision, or the user is not new although presumed to be, so that
   * the caller has to decide again
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
  const limits = { maxWeight: 500, maxWaiting: 20_000, concurrency: options.concurrency }

  const stores = createGroupCommit<NewAssignment, Remembered | 'moved'>({
    ...limits,
    write: async (items) => {
      const profilesVersion = watch.profilesVersion()
      const em = orm.em.fork()
      const { stored, moved } = await storeDecisions(em, items)
      const refused = new Set(moved)
      const byKey = new Map(stored.map((row) => [keyOf(row), row]))
      const met = items.filter((item, index) => !refused.has(index) && !byKey.has(keyOf(item)))
      if (met.length > 0) for (const row of await readAssignments(em, met)) byKey.set(keyOf(row), row)
      memory.remember([...byKey.values()], profilesVersion)
      return items.map((item, index) => {
        // No row is left if the user was erased after the row that this decision met was stored.
        const row = refused.has(index) ? undefined : byKey.get(keyOf(item))
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
