import { expect, test } from 'vitest'
import { PATH_WORDS } from '../../server/definitions/derived-key.ts'
import { restProcedures } from '../../server/http/procedures.ts'
import type { Loose } from '../support/api.ts'
import { onEachDatabase, onOneDatabase } from '../support/app.ts'

const COUNT = { type: 'count', event_type: 'view' }
const UNUSABLE = ['2024', '0', ...PATH_WORDS]
const FLAG = { type: 'boolean', default_value: false }
const KINDS = [
  ['experiments', 'experiment', {}],
  ['segments', 'segment', {}],
  ['layers', 'layer', {}],
  ['metrics', 'metric', { definition: COUNT }],
] as const

test('every word that stands where a key could stand is refused as a key', () => {
  const words = restProcedures().flatMap(({ meta: { openapi } }) => {
    const [, domain, word] = openapi.path.split('/')
    return [...KINDS.map(([kind]) => kind), 'flags'].includes(domain as 'layers') && word && !word.startsWith('{')
      ? [word]
      : []
  })
  expect(words.length).toBeGreaterThan(5)
  expect(words.filter((word) => !PATH_WORDS.has(word))).toEqual([])
})

onOneDatabase('keys', (app) => {
  test.each(KINDS)('of %s are derived from names, unique, and can be given', async (path, kind, others) => {
    const { api } = app()
    const make = (body: object) => api.call('POST', `/api/${path}`, { ...others, ...body })
    const keys: string[] = []
    for (const name of ['Gold Users!', 'gold USERS', '2024', 'Overview', '¡¿!?'])
      keys.push((await make({ name: `${name}` })).body.key)
    expect(keys).toEqual(['gold-users', 'gold-users-2', `${kind}-2024`, `${kind}-overview`, kind])
    expect((await make({ name: 'given', key: `given-${path}` })).body.key).toBe(`given-${path}`)
    expect((await make({ name: 'taken', key: `given-${path}` })).status).toBe(409)
  })

  test.each(KINDS)('of digits and words of paths are refused for new %s', async (path, _kind, others) => {
    const { api } = app()
    const { id } = (await api.call('POST', `/api/${path}`, { ...others, name: `keyed ${path}` })).body
    for (const key of UNUSABLE) {
      const refused = await api.call('POST', `/api/${path}`, { ...others, name: `refused ${key}`, key })
      expect(refused).toMatchObject({ status: 400, body: { issues: [{ path: ['key'] }] } })
      if (path !== 'metrics') expect((await api.call('PUT', `/api/${path}/${id}`, { key })).status).toBe(400)
    }
  })

  test('of digits and words of paths are refused for new flags; older ones are reached as before', async () => {
    const { api, platform } = app()
    for (const key of UNUSABLE) {
      const refused = await api.call('POST', '/api/flags', { ...FLAG, key })
      expect(refused, key).toMatchObject({ status: 400, body: { issues: [{ path: ['key'] }] } })
    }
    await api.ok('POST', '/api/flags', { ...FLAG, key: 'older-flag' })
    await platform.orm.em.fork().execute(`update flags set key = '1998' where key = 'older-flag'`)
    expect(await api.ok('PUT', '/api/flags/1998', { description: 'still' })).toMatchObject({ key: '1998' })
    const { flags } = await api.ok('POST', '/api/flags/evaluate', { user_id: 'a', attributes: {}, keys: ['1998'] })
    expect(flags['1998'].value).toBe(false)
  })

  test('of digits that are older stay as they are in an update that repeats them', async () => {
    const { api, platform } = app()
    const { id } = await api.ok('POST', '/api/experiments', { name: 'older' })
    await platform.orm.em.fork().execute(`update experiments set key = '1999' where id = ${id}`)
    const changed = await api.ok('PUT', `/api/experiments/${id}`, { key: '1999', description: 'still' })
    expect(changed).toMatchObject({ key: '1999', description: 'still' })
  })
})

onEachDatabase('lists', (app) => {
  const names = (rows: Loose[]) => rows.map((row) => row.name)

  test('of experiments are filtered by status, name, text, tag and owner', async () => {
    const { api } = app()
    const make = (name: string, settings: object) => api.ok('POST', '/api/experiments', { name, ...settings })
    const one = await make('Listed one', { owner: 'checkout', tags: ['web', 'web', 'paid'], description: '50%_off' })
    expect(one).toMatchObject({ owner: 'checkout', tags: ['web', 'paid'] })
    await make('Listed two', { owner: 'search', tags: ['web'], key: 'second-of-them' })
    await make('Listed holdout', { kind: 'holdout' })
    const started = await api.makeExperiment(undefined, { name: 'Listed three' })
    await api.ok('POST', `/api/experiments/${started.id}/start`)
    const list = async (query: string) => names(await api.ok('GET', `/api/experiments?name=listed&${query}`))
    expect(await list('')).toEqual(['Listed one', 'Listed two', 'Listed holdout', 'Listed three'])
    expect(await list('status=running')).toEqual(['Listed three'])
    expect(await list('status=running&status=draft&kind=experiment')).toEqual([
      'Listed one',
      'Listed two',
      'Listed three',
    ])
    expect(await list('tag=web')).toEqual(['Listed one', 'Listed two'])
    expect(await list('tag=we')).toEqual([])
    expect(await list('owner=search')).toEqual(['Listed two'])
    expect(await list('q=SECOND-of')).toEqual(['Listed two'])
    expect(await list('q=%25_off')).toEqual(['Listed one'])
    expect(await list('q=5_%25')).toEqual([])
    for (const query of ['status=done', 'sort=status', 'name=', 'q=%20', 'tag='])
      expect((await api.call('GET', `/api/experiments?${query}`)).status, query).toBe(400)
    const cleared = await api.ok('PUT', `/api/experiments/${one.id}`, { owner: null, tags: [] })
    expect(cleared).toMatchObject({ owner: null, tags: [] })
  })

  test.each(KINDS)(
    'of %s are sorted, and their pages link to the next in the same order',
    async (path, _kind, others) => {
      const { api } = app()
      for (const name of ['b', 'c', 'a', 'd'])
        await api.ok('POST', `/api/${path}`, { ...others, name: `sorted ${name}` })
      const all = async (query: string) => {
        const read: string[] = []
        let next: string | undefined = `/api/${path}?q=sorted&limit=2${query}`
        while (next) {
          const page: Loose = await api.call('GET', next)
          read.push(...names(page.body).map((name) => name.slice(-1)))
          next = /<(.*)>/.exec(page.headers.get('link') ?? '')?.[1]
        }
        return read.join('')
      }
      expect(await all('')).toBe('bcad')
      expect(await all('&sort=-id')).toBe('dacb')
      expect(await all('&sort=name')).toBe('abcd')
      expect(await all('&sort=-name')).toBe('dcba')
      expect(await all('&sort=created_at')).toBe('bcad')
      expect(await all('&sort=-created_at')).toBe('dacb')
      expect((await api.call('GET', `/api/${path}?sort=name&after=2000000`)).status).toBe(400)
    },
  )

  test('of users are filtered by e-mail and text', async () => {
    const { api } = app()
    const user = await api.makeUser({ first_name: 'Grace', last_name: 'Hopper', email: 'Grace@Example.com' })
    await api.makeUser({ id: 'grace-2' })
    const list = async (query: string) => (await api.ok('GET', `/api/users?${query}`)).map((row: Loose) => row.id)
    expect(await list('email=grace@example.COM')).toEqual([user.id])
    expect(await list('email=grace')).toEqual([])
    expect((await list('q=GRACE')).sort()).toEqual([user.id, 'grace-2'].sort())
    expect(await list('q=grace%20hop')).toEqual([user.id])
  })

  test('of flags are filtered by owner and text', async () => {
    const { api } = app()
    await api.ok('POST', '/api/flags', { ...FLAG, key: 'dark-mode', owner: 'design', description: 'Night colours' })
    await api.ok('POST', '/api/flags', { ...FLAG, key: 'beta' })
    const list = async (query: string) => (await api.ok('GET', `/api/flags?${query}`)).map((row: Loose) => row.key)
    expect(await list('owner=design')).toEqual(['dark-mode'])
    expect(await list('q=NIGHT')).toEqual(['dark-mode'])
    expect(await list('q=bet')).toEqual(['beta'])
  })
})
