import { expect, test } from 'vitest'
import { nearestNames } from '../../server/evaluation/unknown-name.ts'

const OPERATORS = [
  '$eq',
  '$ne',
  '$in',
  '$nin',
  '$ini',
  '$gt',
  '$gte',
  '$lt',
  '$lte',
  '$regex',
  '$regexi',
  '$exists',
  '$not',
]
const GROUPS = ['$and', '$or', '$nor', '$not']
const FIELDS = [
  'name',
  'q',
  'sort',
  'limit',
  'after',
  'status',
  'kind',
  'tag',
  'owner',
  'from',
  'until',
  'traffic_percent',
]

test.each<[name: string, known: string[], nearest: string[]]>([
  ['$ge', OPERATORS, ['$gte']],
  ['$le', OPERATORS, ['$lte']],
  ['$gtee', OPERATORS, ['$gte']],
  ['$regexp', OPERATORS, ['$regex']],
  ['$notin', OPERATORS, ['$nin', '$not']],
  ['$an', GROUPS, ['$and']],
  ['limt', FIELDS, ['limit']],
  ['form', FIELDS, ['from']],
  ['qq', FIELDS, ['q']],
  ['stat', FIELDS, ['status']],
  ['Sorted', FIELDS, ['sort']],
  ['trafic_percnt', FIELDS, ['traffic_percent']],
  ['trafficPercent', FIELDS, ['traffic_percent']],
  ['page', FIELDS, ['name', 'tag']],
  ['nm', FIELDS, ['name']],
  ['date', ['state', 'rate_of'], ['state']],
  ['begin_at', ['begins_at', 'begin_it', 'begin_ats'], ['begins_at', 'begin_ats']],
])('%s is at most two edits away from known names: %j', (name, known, nearest) => {
  expect(nearestNames(name, known)).toEqual(nearest)
})

test.each<[name: string, known: string[]]>([
  ['$like', OPERATORS],
  ['$is', OPERATORS],
  ['$has', OPERATORS],
  ['$nexists', OPERATORS],
  ['$nregex', OPERATORS],
  ['$xor', GROUPS],
  ['$nand', GROUPS],
  ['mu', ['sd', 'id']],
])('%s is no misspelling: another operator, or no letter in common: %j', (name, known) => {
  expect(nearestNames(name, known)).toEqual([])
})
