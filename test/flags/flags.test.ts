import { expect, test } from 'vitest'
import { createClient } from '../../client/index.ts'
import type { TestApi } from '../support/api.ts'
import { onOneDatabase } from '../support/app.ts'
import { makeFlag, pathsOf, refusedAt, unused, updateFlag, valueFor } from './make-flag.ts'

const create = (api: TestApi, settings: object) =>
  api.call('POST', '/api/flags', { key: unused('refused'), type: 'boolean', default_value: false, ...settings })

onOneDatabase('flags', (app) => {
  test('are created, read, changed and deleted over REST', async () => {
    const { api } = app()
    const key = unused('New.Checkout_')
    const made = await api.ok('POST', '/api/flags', { key, type: 'boolean', default_value: false })
    expect(made).toEqual({
      key,
      type: 'boolean',
      value_schema: null,
      default_value: false,
      rules: [],
      enabled: true,
      description: null,
      owner: null,
      tags: [],
      expected_life_days: null,
      version: 1,
      created_at: expect.any(String),
      updated_at: expect.any(String),
      stale: [],
    })
    const settings = {
      default_value: true,
      description: 'What is it for\nin two lines',
      owner: 'checkout team',
      tags: ['web', 'checkout', 'web'],
      expected_life_days: 30,
    }
    const changed = await api.ok('PUT', `/api/flags/${key}`, settings)
    expect(changed).toMatchObject({ ...settings, tags: ['web', 'checkout'], version: 2 })
    expect(await api.ok('GET', `/api/flags/${key}`)).toEqual(changed)
    const cleared = await api.ok('PUT', `/api/flags/${key}`, { description: null, owner: null })
    expect(cleared).toMatchObject({ description: null, owner: null, tags: ['web', 'checkout'], default_value: true })
    expect(await api.ok('DELETE', `/api/flags/${key}`)).toEqual({ message: 'Flag deleted successfully' })
    for (const [method, path] of [
      ['GET', ''],
      ['PUT', ''],
      ['DELETE', ''],
      ['GET', '/uses'],
    ] as const)
      expect((await api.call(method, `/api/flags/${key}${path}`, method === 'PUT' ? {} : undefined)).status).toBe(404)
  })

  test('have the same procedures over tRPC, with types', async () => {
    const { api, url } = app()
    const client = createClient({ url, apiKey: api.token })
    const key = unused('typed')
    const made = await client.flags.create.mutate({ key, type: 'string', default_value: 'plain' })
    expect(made).toEqual(await api.ok('GET', `/api/flags/${key}`))
    await client.flags.update.mutate({ key, rules: [{ id: 'us', condition: { country_code: 'US' }, value: 'stars' }] })
    const evaluation = { user_id: 'ada', keys: [key], attributes: { country_code: 'US' } }
    const { flags } = await client.flags.evaluate.mutate(evaluation)
    expect(flags[key]).toMatchObject({ value: 'stars', reason: 'TARGETING_MATCH', rule: 'us' })
    const { steps } = await client.flags.explain.query({ key, user_id: 'ada' })
    expect(steps.map(({ outcome }) => outcome)).toEqual(['passed over', 'answered'])
    expect(await client.flags.history.query({ key })).toHaveLength(2)
    await client.flags.delete.mutate({ key })
    await expect(client.flags.get.query({ key })).rejects.toMatchObject({ data: { code: 'NOT_FOUND' } })
  })

  test('accept values of their type only, and name the path of any other value', async () => {
    const { api } = app()
    const right = { boolean: true, string: '', number: -0.5, object: { nested: [null] } }
    for (const [type, default_value] of Object.entries(right)) {
      expect((await makeFlag(api, { type, default_value })).default_value).toEqual(default_value)
      for (const wrong of [true, '', 7, {}, [], null]) {
        if (typeof wrong === type && wrong !== null && !Array.isArray(wrong)) continue
        expect(pathsOf(await create(api, { type, default_value: wrong }))).toEqual(refusedAt('default_value'))
        if (wrong === null) continue
        const share = { percent: 5, value: wrong }
        const faults: [object, (string | number)[]][] = [
          [{ value: wrong }, ['value']],
          [{ rollout: [{ percent: 5, value: default_value }, share] }, ['rollout', 1, 'value']],
        ]
        for (const [rule, path] of faults)
          expect(pathsOf(await create(api, { type, default_value, rules: [{ value: default_value }, rule] }))).toEqual(
            refusedAt('rules', 1, ...path),
          )
      }
    }
  })

  test('of type object may have a JSON schema, which all their values must fit at any time', async () => {
    const { api } = app()
    const value_schema = {
      type: 'object',
      properties: { color: { type: 'string', pattern: '^[a-z]+$' }, sizes: { type: 'array', items: { minimum: 1 } } },
      required: ['color'],
      additionalProperties: false,
    }
    const flag = await makeFlag(api, { type: 'object', default_value: { color: 'red' }, value_schema })
    const refusals: [object, (string | number)[]][] = [
      [{ default_value: {} }, ['default_value']],
      [{ default_value: { color: 'RED' } }, ['default_value', 'color']],
      [{ rules: [{ value: { color: 'red', sizes: [1, 0] } }] }, ['rules', 0, 'value', 'sizes', '1']],
      [{ rules: [{ rollout: [{ percent: 1, value: { hue: 1 } }] }] }, ['rules', 0, 'rollout', 0, 'value']],
      [{ value_schema: { required: ['size'] } }, ['default_value']],
      [{ value_schema: { type: 'nonsense' } }, ['value_schema', 'type']],
      [{ value_schema: { unknown: 1 } }, ['value_schema', 'unknown']],
      [{ value_schema: { $ref: '#' } }, ['value_schema']],
    ]
    for (const [settings, path] of refusals)
      expect(pathsOf(await updateFlag(api, flag, settings)), JSON.stringify(settings)).toEqual(refusedAt(...path))
    expect(pathsOf(await create(api, { value_schema: {} }))).toEqual(refusedAt('value_schema'))
    await api.ok('PUT', `/api/flags/${flag.key}`, { rules: [{ id: 'blue', value: { color: 'blue' } }] })
    const narrow = { value_schema: { properties: { color: { const: 'red' } } } }
    expect(pathsOf(await updateFlag(api, flag, narrow))).toEqual(refusedAt('rules', 0, 'value', 'color'))
    expect((await api.ok('GET', `/api/flags/${flag.key}`)).version).toBe(2)
    expect((await updateFlag(api, flag, { value_schema: null, default_value: { any: 1 } })).status).toBe(200)
  })

  test('give no value while they are disabled, and answer as before when they are enabled again', async () => {
    const { api } = app()
    const flag = await makeFlag(api, { rules: [{ value: true }], enabled: false })
    const evaluate = async () =>
      (await api.ok('POST', '/api/flags/evaluate', { user_id: 'a', keys: [flag.key], attributes: {} })).flags[flag.key]
    const off = { reason: 'DISABLED', rule: null, experiment_id: null, variant_id: null, variant_name: null }
    expect(await evaluate()).toEqual(off)
    await updateFlag(api, flag, { enabled: true })
    expect(await evaluate()).toEqual({ ...off, reason: 'TARGETING_MATCH', value: true, rule: '1' })
    await updateFlag(api, flag, { enabled: false })
    expect(await evaluate()).toEqual(off)
  })

  test('refuse a change that was made from an older version', async () => {
    const { api } = app()
    const flag = await makeFlag(api)
    expect((await updateFlag(api, flag, { version: 1, owner: 'first' })).body).toMatchObject({ version: 2 })
    const late = await updateFlag(api, flag, { version: 1, owner: 'second' })
    expect(late).toMatchObject({ status: 409, body: { message: expect.stringContaining('is at version 2, not 1') } })
    const both = await Promise.all(['one', 'other'].map((owner) => updateFlag(api, flag, { version: 2, owner })))
    expect(both.map(({ status }) => status).toSorted()).toEqual([200, 409])
  })

  test('get no new version when they are sent again unchanged', async () => {
    const { api } = app()
    const rules = [
      { condition: { plan: 'gold' }, value: true },
      { id: 'some', rollout: [{ percent: 5, value: true }] },
    ]
    const flag = await makeFlag(api, { rules, tags: ['a'] })
    for (const same of [{}, { rules }, { rules: flag.rules }, { tags: ['a', 'a'] }, { enabled: true }, { owner: null }])
      expect((await updateFlag(api, flag, same)).body).toEqual(flag)
    expect(await api.ok('GET', `/api/flags/${flag.key}/history`)).toHaveLength(1)
  })

  test('are listed by key or time and filtered by tag, in pages with a link to the next', async () => {
    const { api } = app()
    const [tag, other] = [unused('tag of & some'), unused('other')]
    const keys = ['b', 'A', 'c.x', 'Z', 'a'].map((letter) => unused(`${letter}-listed`))
    for (const key of keys) await makeFlag(api, { key, tags: [other, tag] })
    await makeFlag(api, { tags: [other] })
    const pagesOf = async (sort: string) => {
      const pages: string[][] = []
      for (let path: string | undefined = `/api/flags?limit=2&tag=${encodeURIComponent(tag)}${sort}`; path; ) {
        const { body, headers } = await api.call('GET', path)
        pages.push(body.map(({ key }: { key: string }) => key))
        path = /<(.*)>; rel="next"/.exec(headers.get('link') ?? '')?.[1]
      }
      expect(pages.map((page) => page.length)).toEqual([2, 2, 1])
      return pages.flat()
    }
    expect(await pagesOf('')).toEqual(keys.toSorted())
    expect(await pagesOf('&sort=-key')).toEqual(keys.toSorted().reverse())
    expect(await pagesOf('&sort=created_at')).toEqual(keys)
    expect(await pagesOf('&sort=-created_at')).toEqual(keys.toReversed())
    expect(await api.ok('GET', '/api/flags?tag=nothing')).toEqual([])
  })

  test('are stale after their expected lifetime, or when their experiment is completed', async () => {
    const { api, platform } = app()
    const tags = [unused('stale')]
    const [fresh, old] = [await makeFlag(api, { tags, expected_life_days: 3 }), await makeFlag(api, { tags })]
    const experiment = await api.makeExperiment()
    const tried = await makeFlag(api, { tags, rules: [{ experiment: { experiment_id: experiment.id, values: [] } }] })
    const stale = async ({ key }: { key: string }) => (await api.ok('GET', `/api/flags/${key}`)).stale
    const listed = async (filter: string) =>
      (await api.ok('GET', `/api/flags?tag=${tags[0]}${filter}`)).map(({ key }: { key: string }) => key)
    const age = (flag: { key: string }, days: number) =>
      platform.orm.em
        .fork()
        .execute('update flags set created_at = now() - make_interval(days => ?) where key = ?', [days, flag.key])
    expect([await stale(fresh), await stale(old), await stale(tried)]).toEqual([[], [], []])
    expect(await listed('&stale=true')).toEqual([])

    await age(old, 1000)
    await age(fresh, 2)
    expect([await stale(old), await stale(fresh)]).toEqual([[], []])
    await age(fresh, 3)
    expect(await stale(fresh)).toEqual(['past its expected life'])
    await api.ok('POST', `/api/experiments/${experiment.id}/start`)
    expect(await stale(tried)).toEqual([])
    await api.ok('POST', `/api/experiments/${experiment.id}/complete`)
    expect(await stale(tried)).toEqual(['its experiment is finished'])
    expect(await listed('&stale=true')).toEqual([fresh.key, tried.key].toSorted())
    expect(await listed('&stale=false')).toEqual([old.key])
    expect(await listed('')).toHaveLength(3)
    expect((await updateFlag(api, fresh, { expected_life_days: null })).body.stale).toEqual([])
  })

  test('cannot have keys that a URL would escape', async () => {
    const { api } = app()
    for (const key of ['', '.a', '-a', 'a b', 'a/b', 'ä', 'x'.repeat(101)])
      expect(pathsOf(await create(api, { key }))).toEqual(refusedAt('key'))
    expect(await valueFor(api, await makeFlag(api, { key: unused('constructor') }), 'a')).toBe(false)
    expect(await valueFor(api, await makeFlag(api, { key: 'constructor' }), 'a')).toBe(false)
  })
})
