import { flagFaults } from './flag-faults.ts'
import type { BadRequest, Expected, Input, Random } from './request.ts'
import type { TestData } from './test-data.ts'

/** Makes requests with well-formed fields that contradict one another or what is stored. */
export function meaningFaults(data: TestData, random: Random): BadRequest[] {
  const { draft, bare, running, paused, completed, archived } = data.experiments
  const { ada, bob } = data.users
  const { used, unused } = data.segments
  const found: BadRequest[] = []
  function add(kind: string, call: string, body: Input | undefined, answer: Expected) {
    const [method = '', path = ''] = call.split(' ')
    const route = `${method} /api${path.replace(/\?.*/, '').replace(/[0-9a-f-]{36}|\d+/g, '{id}')}`
    const headers: Record<string, string> = { authorization: `Bearer ${data.token}` }
    if (body) headers['content-type'] = 'application/json'
    found.push({
      kind,
      route,
      method,
      path: `/api${path}`,
      headers,
      ...(body ? { body: JSON.stringify(body) } : {}),
      answer,
    })
  }
  const at = (...issue: string[]): Expected => ({ status: 400, issue })
  const conflict: Expected = { status: 409 }
  const missing: Expected = { status: 404 }
  const past = new Date(Date.now() - 60_000).toISOString()
  const word = random.word()
  const variantsOf = ({ id }: { id: number }) => `/experiments/${id}/variants`

  const more = random.pick([0.0001, 1, 33.3333, 100])
  for (const full of [draft, running, paused])
    add(
      'a sum over 100 %',
      `POST ${variantsOf(full)}`,
      { name: word, percent_allocated: more },
      at('percent_allocated'),
    )
  add(
    'a sum over 100 %',
    `PUT ${variantsOf(draft)}/${draft.variants.spare}`,
    { percent_allocated: more },
    at('percent_allocated'),
  )
  add(
    'a sum over 100 %',
    `PUT ${variantsOf(running)}/${running.variants.treatment}`,
    { percent_allocated: random.pick([40.0001, 41, 100]) },
    at('percent_allocated'),
  )

  const foreign = random.pick([running.variants.control, paused.variants.treatment, archived.variants.control])
  add("another experiment's variant", `PUT ${variantsOf(draft)}/${foreign}`, { name: word }, missing)
  add("another experiment's variant", `DELETE ${variantsOf(draft)}/${foreign}`, undefined, missing)
  add(
    "another experiment's variant",
    `POST /experiments/${running.id}/complete`,
    { shipped_variant_id: draft.variants.control },
    at('shipped_variant_id'),
  )
  const event = { user_id: ada.id, type: 'conversion', experiment_id: running.id }
  add(
    "another experiment's variant",
    'POST /events',
    { ...event, variant_id: draft.variants.treatment },
    at('variant_id'),
  )
  add(
    'a variant without its experiment',
    'POST /events',
    { user_id: ada.id, type: 'x', variant_id: running.variants.control },
    at('experiment_id'),
  )

  add(
    'a time too far ahead',
    'POST /events',
    { ...event, timestamp: new Date(Date.now() + random.int(6, 10_000) * 60_000).toISOString() },
    at('timestamp'),
  )
  add(
    'a time before 2000',
    'POST /events',
    { ...event, timestamp: random.pick(['1999-12-31T23:59:59Z', '1970-01-21T00:00:00Z']) },
    at('timestamp'),
  )
  add(
    'an end before the start',
    `POST /events/${running.id}`,
    { start_time: past, end_time: '2020-01-01T00:00:00Z' },
    at('end_time'),
  )
  add(
    'an end before the start',
    `GET /events/${running.id}?start_time=${past}&end_time=2020-01-01T00:00:00Z`,
    undefined,
    at('end_time'),
  )

  const person = { first_name: word, last_name: word, email: `${word}@example.com` }
  const email = random.chance(0.5) ? ada.email : ada.email.toUpperCase()
  add('a duplicate e-mail', 'POST /users', { ...person, email }, conflict)
  add('a duplicate e-mail', `PUT /users/${bob.id}`, { email }, conflict)
  add('a duplicate id', 'POST /users', { ...person, id: ada.id }, conflict)
  const field = random.pick(['id', 'email', 'country_code', 'is_premium', 'first_name', 'created_at'])
  add('attributes that repeat a field', 'POST /users', { ...person, attributes: { [field]: 1 } }, at('attributes'))
  add('attributes that repeat a field', `PUT /users/${ada.id}`, { attributes: { [field]: 'x' } }, at('attributes'))
  add('an alias of itself', 'POST /users/alias', { alias_id: ada.id, user_id: ada.id }, at('alias_id'))

  const { name, key } = data.disposable
  add('a duplicate name', 'POST /experiments', { name }, conflict)
  add('a duplicate name', `PUT /experiments/${draft.id}`, { name }, conflict)
  add('a duplicate key', 'POST /experiments', { name: word, key }, conflict)
  add('a duplicate key', `PUT /experiments/${draft.id}`, { key }, conflict)
  add('a duplicate name', `POST ${variantsOf(draft)}`, { name: 'treatment', percent_allocated: 0 }, conflict)
  add('a duplicate name', `PUT ${variantsOf(draft)}/${draft.variants.spare}`, { name: 'control' }, conflict)
  add('a duplicate name', 'POST /segments', { name: used.name }, conflict)
  add('a duplicate name', `PUT /segments/${unused.id}`, { name: used.name, rules: { a: random.int(0, 99) } }, conflict)

  const steps: [string, { id: number }[]][] = [
    ['start', [bare, running, paused, completed, archived]],
    ['pause', [draft, paused, completed, archived]],
    ['resume', [draft, running, completed, archived]],
    ['complete', [draft, completed, archived]],
    ['archive', [draft, running, paused, archived]],
    ['runs', [draft, archived]],
    ['reopen', [draft, running, paused, archived]],
    ['unarchive', [draft, running, paused, completed]],
  ]
  for (const [step, experiments] of steps)
    add(
      'a step that the status forbids',
      `POST /experiments/${random.pick(experiments).id}/${step}`,
      undefined,
      conflict,
    )
  add(
    'a step that the status forbids',
    `DELETE /experiments/${random.pick([running, paused, completed]).id}`,
    undefined,
    conflict,
  )
  add('a deletion without the key', `DELETE /experiments/${archived.id}`, undefined, at('confirm'))
  add('a deletion with another key', `DELETE /experiments/${archived.id}`, { confirm: word }, at('confirm'))
  add('a new run without the key', `POST /experiments/${running.id}/runs`, undefined, at('confirm'))
  add('a new run with another key', `POST /experiments/${running.id}/runs`, { confirm: word }, at('confirm'))
  const ship = (variant: unknown) => ({ shipped_variant_id: variant })
  add('a variant shipped too early', `POST /experiments/${running.id}/ship`, ship(running.variants.control), conflict)
  add("another experiment's variant", `POST /experiments/${completed.id}/ship`, ship(foreign), at('shipped_variant_id'))
  const allocationOf = ({ id }: { id: number }) => `PUT /experiments/${id}/allocation`
  add('an allocation over 100 %', allocationOf(draft), { control: 70, treatment: 70 }, { status: 400 })
  add('an allocation of an unknown variant', allocationOf(draft), { [`${word} x`]: 1 }, at(`${word} x`))
  add('an allocation of a holdout', allocationOf({ id: data.holdout }), { held: 1 }, conflict)
  const over = random.pick([completed, archived])
  add('a change that the status forbids', `POST ${variantsOf(over)}`, { name: word, percent_allocated: 0 }, conflict)
  add(
    'a change that the status forbids',
    `PUT ${variantsOf(archived)}/${archived.variants.control}`,
    { percent_allocated: 1 },
    conflict,
  )
  add('a change that the status forbids', `DELETE ${variantsOf(over)}/${over.variants.treatment}`, undefined, conflict)
  add('a change that the status forbids', `PUT /experiments/${archived.id}`, { name: word }, conflict)
  add('a change that the status forbids', `PUT /experiments/${running.id}`, { key: word }, conflict)
  add('a change that the status forbids', `PUT /experiments/${paused.id}`, { exposure: 'on_report' }, conflict)
  add(
    'a change that the status forbids',
    `PUT ${variantsOf(running)}/${running.variants.treatment}`,
    { is_control: true },
    conflict,
  )
  const link = { experiment_id: archived.id, segment_id: unused.id }
  add('a change that the status forbids', 'POST /segments/assign-experiment', link, conflict)
  add('a change that the status forbids', 'DELETE /segments/unassign-experiment', link, conflict)

  const { holdout } = data
  const needs = (experiment_id: number, variant_id: unknown) => ({
    prerequisites: [{ experiment_id, variant_ids: [variant_id] }],
  })
  const settings: [string, Input, string[]][] = [
    ['a prerequisite of itself', needs(draft.id, draft.variants.treatment), ['prerequisites']],
    ["another experiment's variant", needs(running.id, paused.variants.treatment), ['prerequisites']],
    ['a holdout as a prerequisite', needs(holdout, 1), ['prerequisites']],
    ['an archived prerequisite', needs(archived.id, archived.variants.treatment), ['prerequisites']],
    [
      'a holdout_id of an experiment that is not a holdout',
      { holdout_id: random.pick([draft, running, archived]).id },
      ['holdout_id'],
    ],
    ['a schedule in the past', { scheduled_start_at: past }, ['scheduled_start_at']],
    ['a schedule in the past', { scheduled_end_at: past }, ['scheduled_end_at']],
    ['a bad rule', { condition: { [word]: { $near: 1 } } }, ['condition', word]],
    ['an unknown segment', { condition: { id: { $inGroup: 2_000_000_000 } } }, ['condition', 'id']],
  ]
  for (const [kind, body, path] of settings) add(kind, `PUT /experiments/${draft.id}`, body, at(...path))
  add('a setting that the status forbids', `PUT /experiments/${running.id}`, { mode: 'aa' }, conflict)
  add('a setting that the status forbids', `PUT /experiments/${paused.id}`, { holdout_id: holdout }, conflict)
  for (const [field, value] of [
    ['mode', 'aa'],
    ['exposure', 'on_report'],
    ['on_ineligible', 'leave_out'],
    ['holdout_id', holdout],
  ] as const)
    add('a setting that a holdout does not have', `PUT /experiments/${holdout}`, { [field]: value }, at(field))
  add(
    'a variant added to a holdout',
    `POST ${variantsOf({ id: holdout })}`,
    { name: word, percent_allocated: 0 },
    conflict,
  )

  const share = (experiment: { id: number } | number) =>
    `PUT /layers/${data.layer}/experiments/${typeof experiment === 'number' ? experiment : experiment.id}`
  const from = random.int(0, 39)
  add('a share that overlaps', share(draft), { ranges: [{ from, to: from + 10 }] }, at('ranges'))
  add('a share that is not free', share(draft), { percent: random.pick([60.0001, 61, 100]) }, at('percent'))
  add('a share with percent and ranges', share(draft), { percent: 1, ranges: [] }, at('ranges'))
  add('a share without percent and ranges', share(draft), {}, at('percent'))
  add('a share of a holdout', share(holdout), { percent: 1 }, at('experiment_id'))
  add('a share that the status forbids', share(random.pick([running, paused, archived])), { percent: 1 }, conflict)
  add('deletion of a layer in use', `DELETE /layers/${data.layer}`, undefined, conflict)
  add('deletion of an unknown share', share(draft).replace('PUT', 'DELETE'), undefined, missing)

  const measured = `PUT /metrics/${data.metric.id}`
  const another = { definition: { type: 'count', event_type: word } }
  add('a change of a metric in use', measured, another, conflict)
  add('deletion of a metric in use', `DELETE /metrics/${data.metric.id}`, undefined, conflict)
  const attach = (experiment: { id: number }) => `PUT /experiments/${experiment.id}/metrics`
  add('removal of a metric in use', attach(running), { metrics: [] }, conflict)
  add('an unknown metric', attach(draft), { metrics: [{ metric_id: 2_000_000_000, role: 'primary' }] }, at('metrics'))
  const ask = (experiment: { id: number }) => `POST /experiments/${experiment.id}/results`
  add('an unknown metric', ask(running), { metrics: [`no-${word}`] }, at('metrics'))
  add('a dimension that was not declared', ask(running), { dimension: `no ${word}` }, at('dimension'))
  add('an end before the start', ask(running), { from: past, to: '2020-01-01T00:00:00Z' }, at('to'))
  add('a segment with rules', ask(running), { segment_id: unused.id }, at('segment_id'))
  add('an unknown run', ask(running), { run: 7 }, missing)
  add('a freeze of a run that has not ended', `POST /experiments/${running.id}/freeze`, {}, conflict)
  add('a freeze of a frozen run', `POST /experiments/${data.experiments.frozen.id}/freeze`, {}, conflict)
  add('a plan that the status forbids', `PUT /experiments/${running.id}`, { planned_users: 7 }, conflict)

  add('deletion of the control', `DELETE ${variantsOf(draft)}/${draft.variants.control}`, undefined, conflict)
  add('deletion of a variant in use', `DELETE ${variantsOf(running)}/${data.assigned}`, undefined, conflict)
  add('deletion of a segment in use', `DELETE /segments/${used.id}`, undefined, conflict)
  add(
    'deletion of an unknown link',
    'DELETE /segments/unassign-experiment',
    { experiment_id: draft.id, segment_id: used.id },
    missing,
  )
  for (const fault of flagFaults(data, random)) add(...fault)
  return found
}
