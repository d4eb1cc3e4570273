import type { Expected, Input, Random } from './request.ts'
import type { TestData } from './test-data.ts'

/** The kind of the fault, the method and path below /api, the body, and the expected answer. */
type MeaningFault = [kind: string, call: string, body: Input | undefined, answer: Expected]

/** Makes flags with well-formed fields that contradict one another or the stored definitions. */
export function flagFaults(data: TestData, random: Random): MeaningFault[] {
  const { draft, running, paused, archived } = data.experiments
  const { flag, holdout, disposable, segments } = data
  const conflict: Expected = { status: 409 }
  const at = (...issue: (string | number)[]): Expected => ({ status: 400, issue })
  const word = random.word()
  const [create, change] = ['POST /flags', `PUT /flags/${flag}`]
  const found: MeaningFault[] = [
    ['a duplicate key', create, { key: flag, type: 'boolean', default_value: true }, conflict],
    ['a duplicate key', create, { key: disposable.key, type: 'boolean', default_value: true }, conflict],
    ['a duplicate key', 'POST /experiments', { name: word, key: flag }, conflict],
    ['a duplicate key', `PUT /experiments/${draft.id}`, { key: flag }, conflict],
    ['an outdated version', change, { version: random.int(2, 1e9), enabled: false }, conflict],
    [
      'a schema for a flag of another type than object',
      create,
      { key: word, type: 'number', default_value: 1, value_schema: {} },
      at('value_schema'),
    ],
    ['a rule without a value', change, { rules: [{}] }, at('rules', 0, 'value')],
    [
      'a rule with a value and a rollout',
      change,
      { rules: [{ value: {}, rollout: share(1) }] },
      at('rules', 0, 'rollout'),
    ],
    [
      'a sum over 100 %',
      change,
      { rules: [{ value: {} }, { rollout: [...share(60), ...share(random.pick([40.0001, 41, 100]))] }] },
      at('rules', 1, 'rollout'),
    ],
    [
      'a rule that ends before it begins',
      change,
      {
        rules: [
          {
            value: {},
            from: '2026-01-02T00:00:00Z',
            until: random.pick(['2026-01-02T00:00:00Z', '2020-01-01T00:00:00Z']),
          },
        ],
      },
      at('rules', 0, 'until'),
    ],
    [
      'the same id in two rules',
      change,
      {
        rules: [
          { id: word, value: {} },
          { id: word, value: {} },
        ],
      },
      at('rules', 1, 'id'),
    ],
    [
      'a bad rule',
      change,
      { rules: [{ value: {}, condition: { [word]: { $near: 1 } } }] },
      at('rules', 0, 'condition', word),
    ],
    [
      'an unknown segment',
      change,
      { rules: [{ value: {}, segment_ids: [segments.used.id, 2_000_000_000] }] },
      at('rules', 0, 'segment_ids', 1),
    ],
    ['deletion of a segment in use', `DELETE /segments/${segments.used.id}`, undefined, conflict],
    ['deletion of an experiment in use', `DELETE /experiments/${draft.id}`, undefined, conflict],
  ]
  for (const [kind, value] of [
    ['a value of another type', random.pick<unknown>([7, 'x', true, [{}], ['a']])],
    ['a value over the limit', { [word]: Array(5001).fill(0) }],
    ['a value over the limit', { [word]: 'x'.repeat(65_537) }],
  ] as const) {
    found.push([kind, change, { default_value: value }, at('default_value')])
    found.push([kind, change, { rules: [{ value }] }, at('rules', 0, 'value')])
    found.push([kind, change, { rules: [{ rollout: [{ percent: 1, value }] }] }, at('rules', 0, 'rollout', 0, 'value')])
  }
  const schemas = [
    { type: 'nonsense' },
    { [word]: 1 },
    { pattern: '(' },
    { $ref: '#' },
    { required: 'x' },
    { minimum: '1' },
  ]
  for (const value_schema of schemas) found.push(['an invalid schema', change, { value_schema }, at('value_schema')])
  found.push(['a value that the schema forbids', change, { value_schema: { required: [word] } }, at('default_value')])
  const experiments: [string, Input, string][] = [
    ['an unknown experiment', { experiment_id: 2_000_000_000, values: [] }, 'experiment_id'],
    ['a rule that reads a holdout', { experiment_id: holdout, values: [] }, 'experiment_id'],
    ['a rule that reads an archived experiment', { experiment_id: archived.id, values: [] }, 'experiment_id'],
    [
      "another experiment's variant",
      { experiment_id: running.id, values: [{ variant_id: paused.variants.control, value: {} }] },
      'values',
    ],
  ]
  for (const [kind, experiment, field] of experiments)
    found.push([kind, change, { rules: [{ experiment }] }, at('rules', 0, 'experiment', field)])
  return found
}

const share = (percent: number) => [{ percent, value: {} }]
