import pg from 'pg'
import { median, quantileSorted } from 'simple-statistics'

/**
 * Clients that each insert one row into a table without an index, again and again, and wait for its commit. They show
 * what a commit of PostgreSQL costs at that moment on that disk, which no stored decision can be faster than.
 */
export type BareCommits = {
  load: (seconds: number) => Promise<{ perSecond: number; p50_ms: number; p99_ms: number }>
  close: () => Promise<void>
}

/** @param count how many clients commit at a time */
export async function openBareCommits(url: string, count: number): Promise<BareCommits> {
  const clients = Array.from({ length: count }, () => new pg.Client({ connectionString: url }))
  await Promise.all(clients.map((client) => client.connect()))
  await clients[0]?.query('create table bare_commits (id int, user_id text)')
  const insert = { name: 'insert', text: 'insert into bare_commits values ($1, $2)' }
  return {
    load: async (seconds) => {
      const until = performance.now() + seconds * 1000
      const durations: number[] = []
      const repeat = async (client: pg.Client, user: number) => {
        for (let began = performance.now(); began < until; began = performance.now()) {
          await client.query({ ...insert, values: [durations.length, `user_${user}`] })
          durations.push(performance.now() - began)
        }
      }
      await Promise.all(clients.map(repeat))
      durations.sort((a, b) => a - b)
      return {
        perSecond: durations.length / seconds,
        p50_ms: median(durations),
        p99_ms: quantileSorted(durations, 0.99),
      }
    },
    close: async () => void (await Promise.all(clients.map((client) => client.end()))),
  }
}
