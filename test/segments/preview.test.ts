import { beforeAll, expect, test } from 'vitest'
import { onOneDatabase } from '../support/app.ts'

const PROFILES = 1000

/** Reads the CPU time of this thread in ms, which does not depend on the load of the machine. */
const cpuMs = () => {
  const { user, system } = process.threadCpuUsage()
  return (user + system) / 1000
}

/** @returns a function that stops the measurement and returns the most CPU time between two turns of the event loop */
function watchEventLoop() {
  let last = cpuMs()
  let longest = 0
  const timer = setInterval(() => {
    longest = Math.max(longest, cpuMs() - last)
    last = cpuMs()
  }, 1)
  return () => {
    clearInterval(timer)
    return longest
  }
}

onOneDatabase('the preview of a size', (app) => {
  const preview = (input: object) => app().api.ok('POST', '/api/segments/preview', input)
  const makeSegment = async (name: string, rules: object | null, members: string[] = []) => {
    const { api } = app()
    const segment = await api.ok('POST', '/api/segments', { name, rules })
    await api.ok('POST', `/api/segments/${segment.id}/members`, { add: members })
    return segment as { id: number }
  }
  const store = (from: number, to: number) =>
    app()
      .platform.orm.em.fork()
      .execute(
        `insert into users (id, first_name, last_name, email, is_premium, country_code, attributes)
      select 'p-' || n, 'Ada', 'Lovelace', 'p' || n || '@example.com', n % 2 = 0, case when n % 4 = 0 then 'US' else 'DE' end,
        jsonb_build_object('age', n % 100) from generate_series(?::int, ?::int) n`,
        [from, to],
      )

  beforeAll(() => store(1, PROFILES))

  test('counts the profiles that match rules on fields, attributes and ids', async () => {
    const exact = { profiles: PROFILES, sampled: PROFILES, by_hand: 0, estimated: false }
    expect(await preview({ rules: { country_code: 'US' } })).toEqual({ ...exact, by_rules: 250, users: 250 })
    expect(await preview({ rules: { is_premium: true, age: { $lt: 10 } } })).toMatchObject({ by_rules: 50, users: 50 })
    expect(await preview({ rules: { id: { $in: ['p-1', 'p-2', 'nobody'] } } })).toMatchObject({ by_rules: 2 })
    expect(await preview({ rules: {} })).toMatchObject({ by_rules: PROFILES, users: PROFILES })
  })

  test('counts the members of a segment by rule and by hand, each once', async () => {
    const { id } = await makeSegment('sized', { country_code: 'US' }, ['p-4', 'p-8', 'p-1', 'no profile'])
    expect(await preview({ segment_id: id })).toEqual({
      profiles: PROFILES,
      sampled: PROFILES,
      by_rules: 250,
      by_hand: 4,
      users: 252,
      estimated: false,
    })
    const byHand = await makeSegment('by hand only', null, ['p-1', 'no profile'])
    expect(await preview({ segment_id: byHand.id })).toMatchObject({ by_rules: 0, by_hand: 2, users: 2 })
  })

  test('includes the members, by hand and by rule, of the segments that rules name', async () => {
    const us = await makeSegment('inner', { country_code: 'US' }, ['p-1', 'p-3', 'p-4'])
    const outer = await makeSegment('outer', { id: { $inGroup: us.id } }, ['p-5'])
    expect(await preview({ segment_id: outer.id })).toMatchObject({ by_rules: 252, by_hand: 1, users: 253 })
    expect(await preview({ rules: { id: { $notInGroup: outer.id } } })).toMatchObject({ by_rules: PROFILES - 253 })
  })

  test('accepts either rules or a segment, and refuses rules that could not be saved', async () => {
    const { api } = app()
    const refused = (input: object) => api.call('POST', '/api/segments/preview', input)
    const { id } = await makeSegment('either', {})
    const at = (...path: (string | number)[]) => ({ status: 400, body: { issues: [{ path }] } })
    expect(await refused({})).toMatchObject(at('rules'))
    expect(await refused({ rules: {}, segment_id: id })).toMatchObject(at('rules'))
    expect(await refused({ rules: { age: { $above: 1 } } })).toMatchObject(at('rules', 'age', '$above'))
    expect(await refused({ rules: { id: { $inGroup: 1_999_999_999 } } })).toMatchObject(at('rules', 'id', '$inGroup'))
    expect((await refused({ segment_id: 1_999_999_999 })).status).toBe(404)
  })

  test('estimates the size from a sample if there are many profiles, without blocking other requests', async () => {
    await store(PROFILES + 1, 50_000)
    const { id } = await makeSegment('estimated', { country_code: 'US' }, ['p-4', 'no profile'])
    const stretches = watchEventLoop()
    const began = performance.now()
    const found = await preview({ segment_id: id })
    const took = Math.round(performance.now() - began)
    const longest = Math.round(stretches())
    console.log(
      `${found.sampled} of 50,000 profiles in ${took} ms; no turn of the event loop took more than ${longest} ms of CPU`,
    )
    expect(longest).toBeLessThan(200)
    expect(found).toMatchObject({ profiles: 50_000, by_hand: 2, estimated: true })
    expect(found.sampled).toBeGreaterThan(19_000)
    expect(found.sampled).toBeLessThan(21_000)
    // A quarter of all profiles match. Six standard errors of a sample of this size are under 2 % of all profiles.
    expect(Math.abs(found.by_rules - 12_500)).toBeLessThan(1000)
    expect(Math.abs(found.users - 12_501)).toBeLessThan(1000)
    expect((await preview({ rules: { country_code: 'US' }, sample: 2000 })).sampled).toBeLessThan(5000)
    expect(await preview({ rules: { country_code: 'US' }, sample: 60_000 })).toMatchObject({
      by_rules: 12_500,
      estimated: false,
    })
  }, 60_000)
})
