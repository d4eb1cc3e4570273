import type { EntityManager, EntityName, FilterQuery } from '@mikro-orm/sql'
import { invalid } from '../errors.ts'
import { DEFAULT_LIMIT, type NamedPage, type Sort } from '../wire.ts'

/** Reads pages of lists. */

type Sorted = { id: number; name: string; created_at: Date }
/** The order and the page of a list, as `wire.ts` reads it. */
type Page = { sort?: Sort | undefined; after?: number | undefined; limit?: number | undefined }

/** Makes the pattern of a text that contains another text, in any case. */
export const containing = (text: string) => ({ $ilike: `%${text.replace(/[\\%_]/g, '\\$&')}%` })

/** Makes the filters by name and by any text of a list of definitions. */
export const namedLike = ({ name, q }: Pick<NamedPage, 'name' | 'q'>): object[] => [
  ...(name === undefined ? [] : [{ name: containing(name) }]),
  ...(q === undefined
    ? []
    : [{ $or: [{ name: containing(q) }, { key: containing(q) }, { description: containing(q) }] }]),
]

/**
 * Reads a page of a list. Rows with the same value are in the order of their ids.
 * @param page.sort a field, with - before it for the descending order; id by default
 * @param page.after the id of the last row of the page before
 * @throws DomainError BAD_REQUEST if that row is needed for its value and does not exist any more
 */
export async function readPage<Row extends Sorted>(
  em: EntityManager,
  entity: EntityName<Row>,
  where: readonly object[],
  { sort = 'id', after, limit = DEFAULT_LIMIT }: Page,
): Promise<Row[]> {
  const isDescending = sort.startsWith('-')
  const field = sort.replace('-', '') as keyof Sorted
  const direction = isDescending ? 'desc' : 'asc'
  const beyond = (value: unknown) => ({ [isDescending ? '$lt' : '$gt']: value })
  const conditions = [...where]
  if (after !== undefined && field === 'id') conditions.push({ id: beyond(after) })
  else if (after !== undefined) {
    const last = (await em.findOne(entity, { id: after } as FilterQuery<Row>)) as Sorted | null
    if (!last) throw invalid(`${after} does not exist any more: begin with the first page again`, 'after')
    conditions.push({ $or: [{ [field]: beyond(last[field]) }, { [field]: last[field], id: beyond(after) }] })
  }
  const orderBy = field === 'id' ? [{ id: direction }] : [{ [field]: direction }, { id: direction }]
  const found = await em.find(entity, { $and: conditions } as FilterQuery<Row>, { orderBy: orderBy as never, limit })
  return found as Row[]
}
