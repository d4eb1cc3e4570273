import { setTimeout as sleep } from 'node:timers/promises'
import type { TestApi } from '../../support/api.ts'
import type { Random } from '../scale/random.ts'
import { createModel, drawn, type Experiment, type LoginStep, type Rollout } from './model.ts'

/** People who sign up, come back, own two devices and undo joins; what each of their screens showed is compared. */

/** The experiments of each phase: those of phase 2 are met after a login only, those of phase 3 last of all. */
export type Ground = {
  holdout: Experiment
  phases: readonly (readonly Experiment[])[]
  rollouts: readonly Rollout[]
  /** Waits until all processes know of the joins so far, as they do within a second. */
  known: () => Promise<void>
}

export const KINDS = [
  'sign-up',
  'returning',
  'two devices',
  'held',
  'merged',
  'flags only',
  'undone',
  'unmerged',
] as const
export type Kind = (typeof KINDS)[number]

export const DECISIONS = ['experiment', 'holdout', 'rollout'] as const
export type DecisionKind = (typeof DECISIONS)[number]

/** The causes for which a screen may show another value than before. */
export const CAUSES = {
  apart: 'both ids had a variant before the login, and each keeps its own, also after the join is undone',
  held: 'the account is held, and stays so',
  unheld: 'a held device follows an account that is not held',
  left: 'a device leaves a held account, and is itself not held',
  known: 'the account was known before: it keeps its draw, and the device follows',
  unknown: 'the account was unknown before: it adopts the draw of the device',
} as const
type Cause = keyof typeof CAUSES

type Seen = { id: string; owner: string; value: unknown; steps: number }
type Asked = { kind: DecisionKind; key: string; experiment?: Experiment | undefined }

/** Counts what happened to the people of one kind in one kind of decision. */
export type Count = { people: number; decisions: number; allowed: Partial<Record<Cause, number>>; others: string[] }
export const noCount = (): Count => ({ people: 0, decisions: 0, allowed: {}, others: [] })

/** Sends a request again, as applications do, while the platform answers 503: it is busy with other changes. */
async function whenStored(send: () => Promise<unknown>) {
  for (let attempt = 1; ; attempt++)
    try {
      return await send()
    } catch (error) {
      if (attempt === 20 || !(error as Error).message.includes(': 503 ')) throw error
      await sleep(200)
    }
}

/**
 * Lives one person's life against the platform.
 * @param apis processes on one database
 * @returns the counts by kind of decision
 */
export async function live(
  kind: Kind,
  name: string,
  apis: readonly [TestApi, ...TestApi[]],
  ground: Ground,
  random: Random,
) {
  const model = createModel()
  const steps: LoginStep[] = []
  const screens = new Map<string, Map<string, Seen>>()
  const counts = Object.fromEntries(DECISIONS.map((each) => [each, { ...noCount(), people: 1 }])) as Record<
    DecisionKind,
    Count
  >

  /** Looks at a screen, whose application sends this id. @param phase the experiments up to which are asked for */
  async function look(screen: string, id: string, phase: number) {
    const seen = screens.get(screen) ?? new Map<string, Seen>()
    screens.set(screen, seen)
    if (phase > 0) {
      const experiments = ground.phases.slice(0, phase).flat()
      const together = random.chance(0.5)
      await check(seen, id, together ? [...experiments, ground.holdout] : experiments)
      if (!together) await check(seen, id, [ground.holdout])
    }
    await evaluate(seen, id)
  }

  async function check(seen: Map<string, Seen>, id: string, experiments: readonly Experiment[]) {
    const wanted = random.some(experiments, experiments.length)
    const answer = await random.pick(apis).ok('POST', '/api/experiments/check-eligibility', {
      user_id: id,
      experiment_ids: wanted.map((experiment) => experiment.id),
      attributes: {},
    })
    for (const experiment of wanted) {
      const kind = experiment.holdout || experiment === ground.holdout ? 'holdout' : 'experiment'
      const value = answer.eligible_experiment_ids[experiment.id]?.variant_id
      compare(seen, id, { kind, key: `experiment ${experiment.id}`, experiment }, value, model.decide(id, experiment))
    }
  }

  async function evaluate(seen: Map<string, Seen>, id: string) {
    const keys = ground.rollouts.map(({ key }) => key)
    const api = random.pick(apis)
    const values = await (random.chance(0.5) ? together() : singly())
    for (const rollout of ground.rollouts)
      compare(seen, id, { kind: 'rollout', key: rollout.key }, values.get(rollout.key), model.roll(id, rollout))

    async function together() {
      const { flags } = await api.ok('POST', '/api/flags/evaluate', { user_id: id, keys, attributes: {} })
      return new Map(keys.map((key) => [key, flags[key].value]))
    }
    async function singly() {
      const found = new Map<string, unknown>()
      for (const key of keys) {
        const answer = await api.ok('POST', `/ofrep/v1/evaluate/flags/${key}`, { context: { targetingKey: id } })
        found.set(key, answer.value)
      }
      return found
    }
  }

  function compare(seen: Map<string, Seen>, id: string, asked: Asked, value: unknown, expected: unknown) {
    const count = counts[asked.kind]
    count.decisions++
    const place = `${name}: ${asked.key} for ${id}`
    if (value !== expected) count.others.push(`${place} is ${value}; by the rules it is ${expected}`)
    const before = seen.get(asked.key)
    const now = { id, owner: model.ownerOf(id), value, steps: steps.length }
    seen.set(asked.key, now)
    if (!before || before.value === value) return
    const cause = causeOf(asked, before, now, steps.slice(before.steps))
    if (cause) count.allowed[cause] = (count.allowed[cause] ?? 0) + 1
    else count.others.push(`${place} flipped from ${before.value} (as ${before.id}) to ${value}`)
  }

  /** Names the rule that lets a screen show another value than before; undefined if there is none. */
  function causeOf(
    { kind, experiment }: Asked,
    before: Seen,
    now: Seen,
    since: readonly LoginStep[],
  ): Cause | undefined {
    const joins = since.filter((step) => step.kind === 'join')
    if (!experiment) {
      const followed = joins.filter(({ alias, owner }) => [alias, owner].includes(now.id) || alias === before.owner)
      if (followed.some(({ ownerKnown }) => ownerKnown)) return 'known'
      return joins.some(({ owner, ownerKnown }) => owner === now.id && !ownerKnown && before.id === owner)
        ? 'unknown'
        : undefined
    }
    if (before.id !== now.id) {
      if (since.some(({ own }) => own.get(now.id)?.has(experiment.id))) return 'apart'
      // A device takes its own variant, and not that of the account which it left, to its next account.
      const left = since.find((step) => step.kind === 'undo')
      if (left?.own.get(left.alias)?.has(experiment.id)) return 'apart'
      const { holdout } = experiment
      if (!holdout || !since.some(({ own }) => own.get(now.id)?.has(holdout.id))) return undefined
      if (model.isHeld(now.id, holdout)) return 'held'
      return since.at(-1)?.kind === 'undo' ? 'left' : 'unheld'
    }
    if (kind !== 'holdout' || before.value !== undefined) return undefined
    const isAlias = now.owner !== now.id
    if (joins.length > 0 && isAlias) return 'unheld'
    return since.some((step) => step.kind === 'undo' && [now.id, now.owner].includes(step.alias)) ? 'left' : undefined
  }

  const [api] = apis
  async function join(alias_id: string, user_id: string) {
    steps.push(model.join(alias_id, user_id))
    await whenStored(() => api.ok('POST', '/api/users/alias', { alias_id, user_id }))
    // A login is repeated by many applications at each start.
    const other = random.chance(0.2) ? random.pick(apis) : null
    if (other) await whenStored(() => other.ok('POST', '/api/users/alias', { alias_id, user_id }))
    await ground.known()
  }
  async function undo(alias: string) {
    steps.push(model.undo(alias))
    await whenStored(() => api.ok('DELETE', `/api/users/alias/${encodeURIComponent(alias)}`))
    await ground.known()
  }

  /** Makes an account known: by a decision, an event, or a profile. */
  async function known(id: string, screen = 'laptop') {
    const by = random.pick(['decision', 'decision', 'event', 'profile'] as const)
    if (by === 'decision') return look(screen, id, 1)
    if (by === 'event') await api.record({ user_id: id, type: 'visit' })
    else await api.makeUser({ id })
    model.meet(id)
  }

  const phone = `${name} phone`
  const tablet = `${name} tablet`
  const account = `${name} account`
  /** An application goes on with the device's id after a login, or sends the account's. */
  const switches = random.chance(0.5)
  const sends = (device: string, owner: string) => (switches ? owner : device)
  const idWhere = (prefix: string, isHeld: boolean): string => {
    for (let number = 0; ; number++) {
      const id = `${prefix} ${number}`
      if ((drawn(ground.holdout, id) === ground.holdout.variants[0]) === isHeld) return id
    }
  }

  const lives: Record<Kind, () => Promise<void>> = {
    'sign-up': async () => {
      await look('phone', phone, 1)
      await join(phone, account)
      for (const phase of [2, 3]) {
        await look('phone', sends(phone, account), phase)
        await look('laptop', account, phase)
      }
    },
    returning: async () => {
      await known(account)
      await look('phone', phone, 1)
      await join(phone, account)
      for (const phase of [2, 3]) {
        await look('laptop', account, phase)
        await look('phone', sends(phone, account), phase)
      }
    },
    'two devices': async () => {
      await look('phone', phone, 1)
      if (random.chance(0.5)) await look('tablet', tablet, 1)
      await join(phone, account)
      await look('phone', sends(phone, account), 2)
      await look('tablet', tablet, 1)
      await join(tablet, account)
      for (const phase of [2, 3]) {
        await look('tablet', sends(tablet, account), phase)
        await look('phone', sends(phone, account), phase)
      }
    },
    held: async () => {
      const isAccountHeld = random.chance(0.6)
      const [device, owner] = [idWhere(phone, !isAccountHeld), idWhere(account, isAccountHeld)]
      if (random.chance(0.8)) await look('laptop', owner, 1)
      await look('phone', device, 1)
      await join(device, owner)
      for (const phase of [2, 3]) {
        await look('phone', sends(device, owner), phase)
        await look('laptop', owner, phase)
      }
    },
    merged: async () => {
      const merged = `${name} merged account`
      await look('phone', phone, 1)
      if (random.chance(0.5)) await look('tablet', account, 1)
      await join(phone, account)
      await look('phone', sends(phone, account), 2)
      if (random.chance(0.7)) await known(merged)
      await join(account, merged)
      const sent = switches ? random.pick([account, merged]) : phone
      for (const phase of [2, 3]) {
        await look('phone', sent, phase)
        await look('tablet', account, phase)
        await look('laptop', merged, phase)
      }
    },
    'flags only': async () => {
      await look('laptop', account, 0)
      await look('phone', phone, random.below(2))
      await join(phone, account)
      for (const phase of [0, 2]) {
        await look('laptop', account, phase)
        await look('phone', sends(phone, account), phase)
      }
    },
    undone: async () => {
      // One half are devices that leave an account of which the other one of both ids is held.
      const isHeld = random.chance(0.5)
      const [device, owner] = random.chance(0.5)
        ? [idWhere(phone, isHeld), idWhere(account, !isHeld)]
        : [phone, account]
      if (random.chance(0.6)) await known(owner)
      await look('phone', device, 1)
      await join(device, owner)
      await look('phone', sends(device, owner), 2)
      if (random.chance(0.5)) await look('laptop', owner, 2)
      await undo(device)
      await look('laptop', owner, 3)
      await look('phone', device, 3)
      if (random.chance(0.5)) return
      const other = `${name} other account`
      if (random.chance(0.5)) await known(other, 'other laptop')
      await join(device, other)
      await look('phone', sends(device, other), 3)
      await look('laptop', owner, 3)
    },
    unmerged: async () => {
      const other = `${name} other account`
      await look('phone', phone, 1)
      await join(phone, account)
      await look('phone', phone, 1)
      if (random.chance(0.5)) await known(other)
      if (random.chance(0.5)) await look('tablet', tablet, 1)
      await join(tablet, other)
      await join(account, other)
      await look('phone', phone, 2)
      await look('tablet', tablet, 2)
      await undo(account)
      for (const [device, id] of [
        ['phone', phone],
        ['tablet', tablet],
        ['laptop', other],
      ] as const)
        await look(device, id, 3)
    },
  }
  await lives[kind]()
  return counts
}
