import { expect, test } from 'vitest'
import { onPrivateServices } from '../support/app.ts'
import { scaleOf } from '../support/scale.ts'
import { survive } from './survive/work.ts'

const { size, seed } = scaleOf('events survive')

onPrivateServices('an acknowledged event', () => {
  test(
    'is stored and counted exactly once, however often processes, PostgreSQL and Redis are killed',
    async () => {
      const { faults, lines } = await survive({ kills: size, seed })
      expect(faults).toEqual([])
      console.log(lines.join('\n'))
    },
    120_000 + size * 10_000,
  )
})
