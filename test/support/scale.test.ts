import { globSync, readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { stories } from './scale.ts'

test('every story with two sizes is in the file that the table names, so that a soak run finds it', () => {
  const readers = globSync('test/**/*.test.ts').flatMap((file) => {
    const text = readFileSync(file, 'utf8')
    return [...text.matchAll(/scaleOf\('([^']+)'\)/g)].map(([, name]) => `${name} in ${file}`)
  })
  const named = Object.entries(stories).map(([name, { file }]) => `${name} in ${file}`)
  expect(readers.toSorted()).toEqual(named.toSorted())
})

test('every story is larger in a soak run than in npm test', () => {
  for (const { quick, soak } of Object.values(stories)) expect(soak).toBeGreaterThan(quick)
})
