import type { EntityManager } from '@mikro-orm/sql'
import { sql } from 'kysely'

/** Locks a layer until the transaction ends; `no key` for the reason that experiments are locked so. */
export const lockRow = (em: EntityManager, layerId: number) =>
  sql`select 1 from layers l where l.id = ${layerId} for no key update`.execute(em.getKysely())
