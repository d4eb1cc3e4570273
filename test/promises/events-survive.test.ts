import { expect, test } from 'vitest'
import { onPrivateServices } from '../support/app.ts'
import { survive } from './survive/work.ts'

onPrivateServices('an acknowledged event', () => {
  test('is stored exactly once, and counted so, however often processes, PostgreSQL and Redis are killed', async () => {
    const { faults, lines } = await survive({ kills: 6, seed: 1 })
    expect(faults).toEqual([])
    console.log(lines.join('\n'))
  }, 180_000)
})
