import { expect, test } from 'vitest'
import type { Loose } from '../support/api.ts'
import { onOneDatabase } from '../support/app.ts'
import { makeFlag, setRules, unused, updateFlag, valueFor } from './make-flag.ts'

/** Null counted as 0 in the first edition of the condition language, and is less than nothing in the second. */
const YOUNG = { age: { $lt: 18 } }
const SAME = { $and: [YOUNG] }

onOneDatabase('conditions that were stored in the first edition of their language', (app) => {
  const makeOld = async (statement: string, key: string | number) => {
    await app().platform.orm.em.fork().execute(statement, [key])
  }
  const reach = async (user_id: string, id: number) =>
    (
      await app().api.ok('POST', '/api/experiments/check-eligibility', {
        user_id,
        experiment_ids: [id],
        attributes: {},
        preview: true,
      })
    ).eligible_experiment_ids[id] !== undefined

  test('keep their meaning in a flag until they are changed, rule by rule', async () => {
    const { api } = app()
    const flag = await makeFlag(api, { rules: [{ condition: YOUNG, value: true }] })
    expect(await valueFor(api, flag, 'new')).toBe(false)
    await makeOld(`update flags set rules = jsonb_set(rules, '{0}', (rules -> 0) - 'edition') where key = ?`, flag.key)
    await updateFlag(api, flag, { description: 'read again' })
    expect(await valueFor(api, flag, 'new')).toBe(true)
    const { version } = await api.ok('GET', `/api/flags/${flag.key}`)
    expect(await setRules(api, flag, [{ condition: YOUNG, value: true }])).toMatchObject({ version })
    expect(
      await setRules(api, flag, [
        { condition: { b: 1 }, value: true },
        { condition: YOUNG, value: true },
      ]),
    ).toMatchObject({ rules: [{ id: '3' }, { id: '1', condition: YOUNG }] })
    expect(await valueFor(api, flag, 'new')).toBe(true)
    const explained = await api.ok('POST', `/api/flags/${flag.key}/explain`, { user_id: 'new', attributes: {} })
    expect(explained).toMatchObject({ value: true, rule: '1' })
    await setRules(api, flag, [{ condition: SAME, value: true }])
    expect(await valueFor(api, flag, 'new')).toBe(false)
  })

  test('keep their meaning in an experiment and a segment until they are changed', async () => {
    const { api } = app()
    const segment: Loose = await api.ok('POST', '/api/segments', { name: unused('young'), rules: YOUNG })
    const [plain, inSegment] = [
      await api.makeExperiment({ control: 50, treatment: 50 }, { condition: YOUNG }),
      await api.makeExperiment(),
    ]
    await api.ok('POST', '/api/segments/assign-experiment', { segment_id: segment.id, experiment_id: inSegment.id })
    const both = () => Promise.all([reach('new', plain.id), reach('new', inSegment.id)])
    expect(await both()).toEqual([false, false])
    await makeOld('update experiments set condition_edition = 1 where id = ?', plain.id)
    await makeOld('update segments set rules_edition = 1 where id = ?', segment.id)
    const touch = () =>
      Promise.all(
        [plain, inSegment].map(({ id }) => api.ok('PUT', `/api/experiments/${id}`, { description: unused('d') })),
      )
    await touch()
    expect(await both()).toEqual([true, true])
    await api.ok('PUT', `/api/experiments/${plain.id}`, { condition: YOUNG })
    await api.ok('PUT', `/api/segments/${segment.id}`, { rules: YOUNG })
    await touch()
    expect(await both()).toEqual([true, true])
    await api.ok('PUT', `/api/experiments/${plain.id}`, { condition: SAME })
    await api.ok('PUT', `/api/segments/${segment.id}`, { rules: SAME })
    expect(await both()).toEqual([false, false])
  })
})
