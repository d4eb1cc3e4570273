import { expect, test } from 'vitest'
import { onOneDatabase } from '../support/app.ts'
import { makeFlag, unused } from './make-flag.ts'

onOneDatabase('flags and experiments', (app) => {
  test('share one namespace of keys', async () => {
    const { api } = app()
    const flag = await makeFlag(api)
    const experiment = await api.ok('POST', '/api/experiments', { name: unused('keyed'), key: unused('keyed') })
    const taken = { status: 409, body: { message: 'The key is taken: choose another one' } }
    const settings = { type: 'boolean', default_value: false }
    for (const { key } of [flag, experiment]) {
      expect(await api.call('POST', '/api/flags', { key, ...settings })).toMatchObject(taken)
      expect(await api.call('POST', '/api/experiments', { name: unused('second'), key })).toMatchObject(taken)
    }
    const other = await api.ok('POST', '/api/experiments', { name: unused('other') })
    expect(await api.call('PUT', `/api/experiments/${other.id}`, { key: flag.key })).toMatchObject(taken)
    expect((await api.ok('PUT', `/api/experiments/${other.id}`, { key: other.key })).key).toBe(other.key)
  })

  test('do not share derived keys: an experiment gets the next free key', async () => {
    const { api } = app()
    const name = unused('Same Name')
    const key = name.toLowerCase().replaceAll(' ', '-')
    await makeFlag(api, { key })
    expect((await api.ok('POST', '/api/experiments', { name })).key).toBe(`${key}-2`)
    await makeFlag(api, { key: `${key}-3` })
    expect((await api.ok('POST', '/api/experiments', { name: name.replace('Same', 'same') })).key).toBe(`${key}-4`)
  })

  test('free their keys when they are renamed or deleted', async () => {
    const { api } = app()
    const [first, second] = [unused('freed'), unused('freed')]
    const experiment = await api.ok('POST', '/api/experiments', { name: unused('freed'), key: first })
    await api.ok('PUT', `/api/experiments/${experiment.id}`, { key: second })
    await makeFlag(api, { key: first })
    await api.ok('DELETE', `/api/experiments/${experiment.id}`)
    await makeFlag(api, { key: second })
    await api.ok('DELETE', `/api/flags/${first}`)
    await api.ok('POST', '/api/experiments', { name: unused('freed'), key: first })
  })

  test('get a key once if fifty request the same key at once', async () => {
    const { api } = app()
    for (let round = 0; round < 3; round++) {
      const key = unused('wanted')
      const asked = Array.from({ length: 50 }, (_, index) =>
        index % 2 === 0
          ? api.call('POST', '/api/flags', { key, type: 'boolean', default_value: false })
          : api.call('POST', '/api/experiments', { name: unused('wanted'), key }),
      )
      const statuses = (await Promise.all(asked)).map(({ status }) => status)
      expect(statuses.toSorted()).toEqual([200, ...Array(49).fill(409)])
      const { flags } = await api.ok('POST', '/api/flags/evaluate', { user_id: 'a', attributes: {}, keys: [key] })
      expect(Object.keys(flags)).toEqual([key])
    }
  }, 30_000)
})
