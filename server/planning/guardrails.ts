import { sum } from 'simple-statistics'
import { invalid } from '../errors.ts'
import type { Users } from '../statistics/power.ts'
import { type PlannedGuardrail, powerToPass, smallestMargin, usersForPower } from '../statistics/power-guardrails.ts'
import { adjustedSpread, levelOf } from './figures.ts'
import { METHODS, type Question } from './methods.ts'
import type { GuardrailsPlan, PlanSampleSize } from './schema.ts'

/** Computes with which power guardrails are passed that no treatment harms. */

export type AskedGuardrail = PlanSampleSize['guardrails'][number]
/** `confidenceLevel` is the one-sided level of each guardrail: all must pass, so it is not divided among them. */
type Plan = Omit<Question, 'metric' | 'correlation'> & { method: PlanSampleSize['method'] }

/** The largest number of users that is considered. */
const MAX_USERS = 1e12

/**
 * Plans guardrails for the treatment with the smallest share.
 * @param allocation shares of the variants on any scale, the control first
 * @param total users of all variants
 * @returns null without guardrails
 * @throws DomainError BAD_REQUEST for a relative margin of a level that is not above 0
 */
export function planGuardrails(
  asked: readonly AskedGuardrail[],
  plan: Plan,
  allocation: readonly number[],
  total: number,
): GuardrailsPlan {
  if (asked.length === 0) return null
  const guardrails = asked.map(plannedOf)
  const powersAt = (users: number) => {
    const pair = pairOf(allocation, users)
    const multiplier = METHODS[plan.method].oneSided(plan, pair)
    return guardrails.map((guardrail) => powerToPass(guardrail, pair, multiplier))
  }
  const powers = powersAt(total)
  const usersFor = (powerAt: (users: number) => number) => {
    const users = usersForPower(powerAt, plan.power, MAX_USERS)
    return users === null ? null : Math.ceil(users)
  }
  const pair = pairOf(allocation, total)
  const multiplier = METHODS[plan.method].oneSided(plan, pair)
  return {
    power: product(powers),
    total_users: usersFor((users) => product(powersAt(users))),
    each: guardrails.map((guardrail, index) => ({
      power: powers[index] as number,
      total_users: usersFor((users) => powersAt(users)[index] as number),
      smallest_margin: smallestMargin(guardrail, pair, multiplier, plan.power),
      is_in_reach: (powers[index] as number) >= plan.power,
    })),
  }
}

function plannedOf({ metric, margin, direction, covariate_correlation }: AskedGuardrail, index: number) {
  const level = levelOf(metric)
  if (margin.type === 'relative' && !(level > 0))
    throw invalid('must have a level above 0, because the margin is relative to it', 'guardrails', index, 'metric')
  return { level, sd: adjustedSpread(metric, covariate_correlation), margin, direction } satisfies PlannedGuardrail
}

/** The users of the control, and of the treatment with the smallest share. */
function pairOf(allocation: readonly number[], total: number): Users {
  const [control, ...treatments] = allocation as [number, ...number[]]
  const perShare = total / sum([...allocation])
  return { control: control * perShare, treatment: Math.min(...treatments) * perShare }
}

const product = (powers: readonly number[]) => powers.reduce((all, power) => all * power, 1)
