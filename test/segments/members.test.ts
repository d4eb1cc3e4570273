import { expect, test } from 'vitest'
import type { TestApi } from '../support/api.ts'
import { onEachDatabase, onOneDatabase, onPostgres, openApp } from '../support/app.ts'

let made = 0
const makeList = (api: TestApi, add: string[] = []) =>
  api.ok('POST', '/api/segments', { name: `list ${process.pid}-${++made}` }).then(async (segment) => {
    if (add.length > 0) await api.ok('POST', `/api/segments/${segment.id}/members`, { add })
    return segment as { id: number }
  })
const change = (api: TestApi, segment: { id: number }, lists: object) =>
  api.call('POST', `/api/segments/${segment.id}/members`, lists)
const idsOf = (rows: { id: string }[]) => rows.map(({ id }) => id)

onEachDatabase('the members of a segment', (app) => {
  test('are added and removed in lists, in which each id counts once', async () => {
    const { api } = app()
    const segment = await makeList(api)
    const changed = async (lists: object) => (await change(api, segment, lists)).body
    expect(await changed({ add: ['b', 'a', 'c', 'a'] })).toEqual({ added: 3, removed: 0, members: 3 })
    expect(await changed({ add: ['a', 'd'], remove: ['b', 'x', 'b'] })).toEqual({ added: 1, removed: 1, members: 3 })
    expect(await changed({})).toEqual({ added: 0, removed: 0, members: 3 })
    expect(await changed({ add: null, remove: [] })).toEqual({ added: 0, removed: 0, members: 3 })
    expect(idsOf(await api.ok('GET', `/api/segments/${segment.id}/members`))).toEqual(['a', 'c', 'd'])
  })

  test('are listed page by page in ascending id, with a link to the next', async () => {
    const { api } = app()
    const odd = ['Zoe', 'ada', 'bob & co', 'ça', '\u{1f600}']
    const segment = await makeList(api, odd.toReversed())
    const pages: string[][] = []
    for (let path: string | undefined = `/api/segments/${segment.id}/members?limit=2`; path; ) {
      const { body, headers } = await api.call('GET', path)
      pages.push(idsOf(body))
      path = /<(.*)>; rel="next"/.exec(headers.get('link') ?? '')?.[1]
    }
    expect(pages).toEqual([['Zoe', 'ada'], ['bob & co', 'ça'], ['\u{1f600}']])
  })

  test('must be valid ids: each invalid one is reported with its index, at most 20 of them', async () => {
    const { api } = app()
    const segment = await makeList(api)
    const refused = await change(api, segment, {
      add: ['fine', '', 7, 'x'.repeat(257)],
      remove: ['tab\t', 'also fine'],
    })
    expect(refused.status).toBe(400)
    const paths = refused.body.issues.map((issue: { path: unknown }) => issue.path)
    expect(paths).toEqual([
      ['add', 1],
      ['add', 2],
      ['add', 3],
      ['remove', 0],
    ])
    const allBad = await change(api, segment, { add: Array(100_000).fill(null) })
    expect(allBad).toMatchObject({ status: 400 })
    expect(allBad.body.issues).toHaveLength(20)
    const tooMany = await change(api, segment, { add: Array(100_001).fill('a') })
    expect(tooMany).toMatchObject({ status: 400, body: { issues: [{ path: ['add'] }] } })
    expect(await api.ok('GET', `/api/segments/${segment.id}/members`)).toEqual([])
  })

  test('cannot be both added and removed by one call, and cannot be added to an unknown segment', async () => {
    const { api } = app()
    const segment = await makeList(api)
    const both = await change(api, segment, { add: ['a', 'b'], remove: ['c', 'b'] })
    expect(both).toMatchObject({ status: 400, body: { issues: [{ path: ['remove', 1] }] } })
    expect((await change(api, { id: 1_999_999_999 }, { add: ['a'] })).status).toBe(404)
    expect((await api.call('GET', '/api/segments/1999999999/members')).status).toBe(404)
  })

  test('can also be removed one by one', async () => {
    const { api } = app()
    const segment = await makeList(api, ['leaves', 'stays'])
    const leave = (body: object) =>
      api.call('DELETE', '/api/segments/unassign-user', { segment_id: segment.id, ...body })
    expect(await leave({ user_id: 'leaves' })).toMatchObject({
      status: 200,
      body: { message: 'User removed from segment successfully' },
    })
    expect((await leave({ user_id: 'leaves' })).status).toBe(404)
    expect((await leave({ user_id: 'stays', segment_id: 1_999_999_999 })).status).toBe(404)
    expect(idsOf(await api.ok('GET', `/api/segments/${segment.id}/members`))).toEqual(['stays'])
  })

  test('are exactly the users whom an experiment of the segment admits, once the change is answered', async () => {
    const { api } = app()
    const segment = await makeList(api)
    const experiment = await api.makeExperiment()
    await api.ok('POST', '/api/segments/assign-experiment', { experiment_id: experiment.id, segment_id: segment.id })
    const users = Array.from({ length: 150 }, (_, index) => `listed-${index}`)
    const [few, many] = [users.filter((_, index) => index % 10 === 0), users.filter((_, index) => index % 4 > 0)]
    const others = users.filter((user) => !many.includes(user))
    const admitted = async () => {
      const check = (user: string) => api.variantOf(user, experiment, { preview: true })
      const variants = await Promise.all(users.map(check))
      return users.filter((_, index) => variants[index] !== undefined)
    }
    await change(api, segment, { add: few })
    expect(await admitted()).toEqual(few)
    await change(api, segment, { add: many })
    expect(await admitted()).toEqual(users.filter((user) => few.includes(user) || many.includes(user)))
    await change(api, segment, { remove: many, add: others })
    expect(await admitted()).toEqual(others)
  }, 60_000)

  test('open no allocation period when they change, because a list is not a definition', async () => {
    const { api } = app()
    const segment = await makeList(api)
    const experiment = await api.makeExperiment()
    await api.ok('POST', '/api/segments/assign-experiment', { experiment_id: experiment.id, segment_id: segment.id })
    await api.ok('POST', `/api/experiments/${experiment.id}/start`)
    const before = await api.ok('GET', `/api/experiments/${experiment.id}`)
    await change(api, segment, { add: ['nobody in particular'] })
    expect(await api.ok('GET', `/api/experiments/${experiment.id}`)).toEqual(before)
  })
})

onOneDatabase('long lists of members', (app) => {
  test('add 100,000 members in one call while decisions continue', async () => {
    const { api } = app()
    const segment = await makeList(api)
    const experiment = await api.makeExperiment({ control: 50, treatment: 50 })
    await api.variantOf('meanwhile', experiment)
    const imported = Array.from({ length: 100_000 }, (_, index) => `imported-${index}@example.com`)
    let importing = true
    const waits: number[] = []
    const deciding = (async () => {
      for (let count = 0; importing; count++) {
        const began = performance.now()
        await api.variantOf(`meanwhile-${count}`, experiment)
        waits.push(performance.now() - began)
      }
    })()
    const took = async (lists: object) => {
      const began = performance.now()
      const { status, body } = await change(api, segment, lists)
      return { status, body, ms: Math.round(performance.now() - began) }
    }
    const added = await took({ add: imported })
    const again = await took({ add: imported })
    const removed = await took({ remove: imported, add: ['last'] })
    importing = false
    await deciding
    waits.sort((a, b) => a - b)
    const longest = Math.round(waits.at(-1) ?? 0)
    console.log(
      `100,000 members: added in ${added.ms} ms, again in ${again.ms} ms, removed in ${removed.ms} ms; of ${waits.length} first decisions meanwhile the longest took ${longest} ms, the median ${Math.round(waits[waits.length >> 1] ?? 0)} ms`,
    )
    expect(added).toMatchObject({ status: 200, body: { added: 100_000, removed: 0, members: 100_000 } })
    expect(again).toMatchObject({ status: 200, body: { added: 0, removed: 0, members: 100_000 } })
    expect(removed).toMatchObject({ status: 200, body: { added: 1, removed: 100_000, members: 1 } })
    expect(longest).toBeLessThan((added.ms + again.ms + removed.ms) / 2)
  }, 240_000)
})

onPostgres('lists on several processes', () => {
  test('take effect on the other processes at once, although these remember the users', async () => {
    const one = await openApp('postgres')
    const two = await openApp('postgres', {
      DATABASE_URL: one.databaseUrl,
      REDIS_URL: one.platform.config.redisUrl ?? '',
    })
    try {
      const segment = await makeList(one.api)
      const experiment = await one.api.makeExperiment()
      const link = { experiment_id: experiment.id, segment_id: segment.id }
      await one.api.ok('POST', '/api/segments/assign-experiment', link)
      two.api.token = one.api.token
      const users = Array.from({ length: 200 }, (_, index) => `remembered-${index}`)
      await one.api.ok('POST', `/api/segments/${(await makeList(one.api)).id}/members`, { add: users })
      const admitted = async () => {
        const answers = await Promise.all(users.map((user) => two.api.variantOf(user, experiment, { preview: true })))
        return answers.filter((variant) => variant !== undefined).length
      }
      expect(await admitted()).toBe(0)
      await change(one.api, segment, { add: users })
      await new Promise((resolve) => setTimeout(resolve, 100))
      expect(await admitted()).toBe(users.length)
    } finally {
      await two.close()
      await one.close()
    }
  })

  test('are both stored when they overlap', async () => {
    const app = await openApp('postgres')
    try {
      const segment = await makeList(app.api)
      const ids = Array.from({ length: 20_000 }, (_, index) => `both-${index}`)
      const answers = await Promise.all([
        change(app.api, segment, { add: ids }),
        change(app.api, segment, { add: ids.toReversed() }),
        change(app.api, segment, { add: ids.slice(5000) }),
      ])
      expect(answers.map(({ status }) => status)).toEqual([200, 200, 200])
      expect(answers.reduce((sum, { body }) => sum + body.added, 0)).toBe(ids.length)
    } finally {
      await app.close()
    }
  })
})
