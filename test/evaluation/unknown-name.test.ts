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
  ['begin_at', ['begins_at', 'begin_it', 'begin_ats'], ['begins_at', 'begin_ats']],
])('%s is a misspelling of a known name that keeps its letters: %j', (name, known, nearest) => {
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
  ['page', FIELDS],
  ['mu', ['mean', 'sd']],
  ['cap', ['day', 'type']],
  ['date', ['state', 'rate_of']],
])('%s resembles no known name, because other letters make another word: %j', (name, known) => {
  expect(nearestNames(name, known)).toEqual([])
})
