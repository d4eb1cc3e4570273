import { expect, test } from 'vitest'
import { createClient } from '../../client/index.ts'
import { oneDatabase, openApp } from '../support/app.ts'

test('the typed client imports a list of more than a mebibyte', async () => {
  const app = await openApp(oneDatabase())
  try {
    const client = createClient({ url: app.url, apiKey: app.api.token })
    const { id } = await client.segments.create.mutate({ name: 'typed' })
    const add = Array.from({ length: 5000 }, (_, index) => `${'x'.repeat(250)}${index}`)
    expect(await client.segments.changeMembers.mutate({ segment_id: id, add })).toMatchObject({ added: 5000 })
    expect(await client.segments.preview.query({ segment_id: id })).toMatchObject({ by_hand: 5000, users: 5000 })
    const [first] = await client.segments.listMembers.query({ segment_id: id, limit: 1 })
    expect(await client.segments.unassignUser.mutate({ segment_id: id, user_id: first?.id ?? '' })).toBeDefined()
    expect(await client.segments.uses.query({ segment_id: id })).toEqual({ experiments: [], segments: [], flags: [] })
  } finally {
    await app.close()
  }
})
