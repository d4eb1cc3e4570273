import type { Outputs } from '../index.ts'
import { type Decisions, isByRule, type Progress, TRUE_RATES, type UserProfile } from './simulation.ts'

/** Reports progress: a line that updates itself on a terminal, or elsewhere one plain line for each finished step. */
export function createProgress(): Progress {
  const isTerminal = process.stdout.isTTY
  return (step, done, total) => {
    const line = `${step.padEnd(24)}${done.toLocaleString('en').padStart(6)} of ${total.toLocaleString('en')}`
    if (isTerminal) process.stdout.write(`\r${line}${done === total ? '\n' : ''}`)
    else if (done === total) console.log(line)
  }
}

export function printDecisions(
  people: UserProfile[],
  decisions: Decisions,
  again: Decisions,
  variants: Outputs['experiments']['get']['variants'],
) {
  console.log('\nDecisions')
  const rows = variants.map((variant) => {
    const users = [...decisions.values()].filter(({ variant_id }) => variant_id === variant.id).length
    const share = `${((100 * users) / decisions.size).toFixed(1)} %`
    return [variant.name, String(users), share, `(allocated ${variant.percent_allocated} %)`]
  })
  const leftOut = people.filter(({ id }) => !decisions.has(id))
  const abroad = leftOut.filter(({ country_code }) => country_code !== 'US').length
  const basic = leftOut.length - abroad
  printTable([...rows, ['not eligible', String(leftOut.length), '', reasons(abroad, basic)]], [1, 2])
  const byHand = people.filter((person) => decisions.has(person.id) && !isByRule(person)).length
  console.log(`  ${byHand} users are eligible only as beta testers, who were added by hand.`)
  const same = people.filter(({ id }) => decisions.get(id)?.variant_id === again.get(id)?.variant_id).length
  console.log(`  Asked again, ${same} of ${people.length} got the same answer.`)
}

const reasons = (abroad: number, basic: number) => `(${abroad} outside the US, ${basic} in the US without premium)`

export function printEvents(counts: Map<string, number>) {
  console.log('\nEvents stored')
  printTable(
    [...counts].sort().map(([type, count]) => [type, String(count)]),
    [1],
  )
}

export function printResults(results: Outputs['results']['get']) {
  const level = `${100 * results.confidence_level} %`
  console.log(`\nResults for "${results.conversion_event_type}"`)
  const rows = results.variants.map((variant) => [
    variant.variant_name,
    String(variant.total_users),
    String(variant.conversions),
    `${variant.conversion_rate.toFixed(2)} %`,
    `${variant.confidence_interval.lower.toFixed(1)} to ${variant.confidence_interval.upper.toFixed(1)} %`,
    `${(100 * (TRUE_RATES[variant.variant_name] ?? 0)).toFixed(0)} %`,
    variant.relative_uplift === null ? '' : signed(variant.relative_uplift),
    formatPValue(variant.p_value),
  ])
  const head = ['variant', 'users', 'converted', 'rate', `${level} interval`, 'true rate', 'uplift', 'p-value']
  printTable([head, ...rows], [1, 2, 3, 4, 5, 6, 7])
  const { winner } = results
  console.log(
    winner
      ? `  Winner: ${winner.variant_name}, ${signed(winner.relative_uplift)} over control`
      : `  No winner: no uplift is significant at ${results.significance_threshold}`,
  )
  const { decision, warnings } = results
  console.log(
    `  Decision, by an analysis that is valid at any time: ${decision.outcome}. ${decision.reasons.join(' ')}`,
  )
  for (const warning of warnings) console.log(`  ! ${warning}`)
}

const signed = (percent: number) => `${percent > 0 ? '+' : ''}${percent.toFixed(1)} %`

export function formatPValue(pValue: number | null): string {
  if (pValue === null) return ''
  return pValue < 0.0001 ? '< 0.0001' : pValue.toFixed(4)
}

/**
 * Prints a table. Each column is as wide as its widest cell.
 * @param rightAligned the indexes of the columns of numbers
 */
function printTable(rows: string[][], rightAligned: number[]) {
  const widths = rows.reduce<number[]>(
    (widest, row) => row.map((cell, column) => Math.max(widest[column] ?? 0, cell.length)),
    [],
  )
  const pad = (cell: string, column: number) =>
    rightAligned.includes(column) ? cell.padStart(widths[column] ?? 0) : cell.padEnd(widths[column] ?? 0)
  for (const row of rows) console.log(`  ${row.map(pad).join('  ').trimEnd()}`)
}
