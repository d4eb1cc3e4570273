import { expect, test } from 'vitest'
import { onOneDatabase, type TestApp } from '../support/app.ts'

/** Unknown fields where no schema of a procedure is the input: batches, imports, exports, OFREP, queries of bodies. */

const LENIENT = { prefer: 'return=minimal, handling=lenient' }

type Sent = { body?: unknown; type?: string; headers?: Record<string, string> }
async function send({ url, api }: TestApp, call: string, { body, type = 'application/json', headers }: Sent = {}) {
  const [method, path] = call.split(' ')
  const response = await fetch(`${url}${path}`, {
    method: method as string,
    headers: {
      authorization: `Bearer ${api.token}`,
      ...(body === undefined ? {} : { 'content-type': type }),
      ...headers,
    },
    ...(body === undefined ? {} : { body: typeof body === 'string' ? body : JSON.stringify(body) }),
  })
  const text = await response.text()
  return { status: response.status, text, applied: response.headers.get('preference-applied') }
}

const event = (more: object = {}) => ({ user_id: 'ada', type: 'view', attributes: {}, ...more })

onOneDatabase('an unknown field of an event', (app) => {
  test('rejects this event of a batch alone, and is ignored in a lenient batch', async () => {
    const body = { events: [event(), event({ propertys: { value: 1 } }), event({ zq_unheard_of: 1 })] }
    const strict = JSON.parse((await send(app(), 'POST /api/events/batch', { body })).text)
    expect(strict).toMatchObject({ accepted: 1, rejected: 2 })
    expect(strict.results[1]).toMatchObject({
      status: 'rejected',
      message: 'Invalid event: unknown field propertys (did you mean properties?)',
      issues: [{ path: ['propertys'], message: 'unknown field propertys (did you mean properties?)' }],
    })
    expect(strict.results[2].message).toMatch(/^Invalid event: unknown field zq_unheard_of \(known are user_id, /)
    const lenient = await send(app(), 'POST /api/events/batch', { body, headers: LENIENT })
    expect(JSON.parse(lenient.text)).toMatchObject({ accepted: 3, rejected: 0 })
    expect(lenient.applied).toBe('handling=lenient')
  })

  test('rejects its line of an import, with the number of the line', async () => {
    const lines = [event(), event({ usr_id: 'x' }), event({ toString: 'x' }), event()]
    const upload = { body: lines.map((line) => JSON.stringify(line)).join('\n'), type: 'application/x-ndjson' }
    const strict = await send(app(), 'POST /api/events/import', upload)
    const reports = strict.text
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line))
    expect(reports.at(-1)).toMatchObject({ done: true, accepted: 2, rejected: 2 })
    expect(reports).toContainEqual({
      line: 2,
      status: 'rejected',
      message: 'Invalid event: unknown field usr_id (did you mean user_id?)',
      issues: [{ path: ['usr_id'], message: 'unknown field usr_id (did you mean user_id?)' }],
    })
    expect(reports.find(({ line, status }) => line === 3 && status === 'rejected').message).toMatch(/field toString/)
    const lenient = await send(app(), 'POST /api/events/import', { ...upload, headers: LENIENT })
    expect(lenient.applied).toBe('handling=lenient')
    expect(
      lenient.text
        .trim()
        .split('\n')
        .map((line) => JSON.parse(line))
        .at(-1),
    ).toMatchObject({
      done: true,
      accepted: 4,
      rejected: 0,
    })
  })

  test('is free in properties and attributes, whatever its name', async () => {
    const free = { toString: 1, hasOwnProperty: { valueOf: 2 }, constructor: 'x', user_idd: 3 }
    const { text, status } = await send(app(), 'POST /api/events', {
      body: event({ properties: free, attributes: free }),
    })
    expect([status, JSON.parse(text).properties]).toEqual([200, free])
  })
})

onOneDatabase('an unknown field', (app) => {
  const expectRefused = async (call: string, sent: Sent, message: string) => {
    const strict = await send(app(), call, sent)
    expect([strict.status, strict.applied, strict.text]).toEqual([400, null, expect.stringContaining(message)])
    const lenient = await send(app(), call, { ...sent, headers: LENIENT })
    expect([lenient.status, lenient.applied], lenient.text).toEqual([200, 'handling=lenient'])
  }

  test('in the query of an export or an import is refused', async () => {
    const { id } = await app().api.makeExperiment()
    await expectRefused('GET /api/events/export?formt=csv', {}, 'unknown field formt (did you mean format?)')
    await expectRefused('GET /api/events/export?zq_unheard_of=1', {}, 'unknown field zq_unheard_of (known are format,')
    await expectRefused(
      `GET /api/experiments/${id}/assignments/export?formats=csv`,
      {},
      'unknown field formats (did you mean format?)',
    )
    const upload = { body: JSON.stringify(event()), type: 'application/x-ndjson' }
    await expectRefused('POST /api/events/import?send_at=1', upload, 'unknown field send_at (did you mean sent_at?)')
  })

  test('in the query of a call that reads its body is refused', async () => {
    await app().api.ok('POST', '/api/segments', { name: 'known' })
    const message = 'unknown field sample in the query: this POST reads its fields from the body'
    await expectRefused('POST /api/segments/preview?sample=5', { body: { rules: {} } }, message)
  })

  test('in the query of a GET is refused, also __proto__ and the names of the prototype', async () => {
    for (const name of ['limt', '__proto__', 'constructor', 'toString'])
      await expectRefused(`GET /api/experiments?${name}=1`, {}, `unknown field ${name}`)
    const { id } = await app().api.makeExperiment()
    await expectRefused(`GET /api/experiments/${id}/results?formt=csv`, {}, 'unknown field formt')
    expect((await send(app(), `GET /api/experiments/${id}/results?format=csv`)).status).toBe(200)
  })

  test('leaves no trace in the link to the next page of a lenient list', async () => {
    await app().api.makeExperiment()
    const { api, url } = app()
    const response = await fetch(`${url}/api/experiments?limit=1&zq_unheard_of=1`, {
      headers: { authorization: `Bearer ${api.token}`, ...LENIENT },
    })
    expect(response.headers.get('link')).toBe('</api/experiments?limit=1&after=1>; rel="next"')
  })

  test('beside the context of OFREP is refused; the context is free', async () => {
    const { api } = app()
    await api.ok('POST', '/api/flags', { key: 'strict', type: 'boolean', default_value: false })
    const context = { targetingKey: 'ada', contxt: 1, toString: 2, constructor: 'x' }
    expect((await send(app(), 'POST /ofrep/v1/evaluate/flags/strict', { body: { context } })).status).toBe(200)
    for (const path of ['/ofrep/v1/evaluate/flags/strict', '/ofrep/v1/evaluate/flags']) {
      for (const body of [{ contxt: context }, { context, toString: 1 }, { context, zq_unheard_of: 1 }]) {
        const [name] = Object.keys(body).filter((key) => key !== 'context')
        await expectRefused(`POST ${path}`, { body }, `unknown field ${name}`)
        const { text } = await send(app(), `POST ${path}`, { body })
        expect(JSON.parse(text)).toMatchObject({ errorCode: 'PARSE_ERROR', errorDetails: expect.any(String) })
      }
      await expectRefused(`POST ${path}?contxt=1`, { body: { context } }, 'unknown field contxt')
    }
    const notified = '/ofrep/v1/evaluate/flags?flagConfigEtag=1&flagConfigLastModified=2'
    expect((await send(app(), `POST ${notified}`, { body: { context } })).status).toBe(200)
  })

  test('of a path that the body repeats must be the same', async () => {
    const { id, variants } = await app().api.makeExperiment()
    const path = `PUT /api/experiments/${id}/variants/${variants.treatment}`
    expect((await send(app(), path, { body: { experiment_id: id, name: 'b' } })).status).toBe(200)
    const message = `experiment_id: cannot be changed: the path says ${id}`
    for (const experiment_id of [id + 1, [id], { toString: 1 }, null])
      await expectRefused(path, { body: { experiment_id, name: 'b' } }, message)
  })

  test('fails its call of a tRPC batch alone, and is ignored in a lenient batch', async () => {
    const evaluation = { user_id: 'ada', attributes: {} }
    const calls = { 0: { ...evaluation, colour: 'red' }, 1: evaluation }
    const call = 'POST /trpc/flags.evaluate,flags.evaluate?batch=1'
    const asQuery = `GET /trpc/segments.list,segments.preview?batch=1&input=${encodeURIComponent(
      JSON.stringify({ 0: { limt: 1 }, 1: { rules: {} } }),
    )}`
    for (const [path, sent] of [
      [call, { body: calls }],
      [asQuery, {}],
    ] as const) {
      const outcomes = async (headers?: Record<string, string>) => {
        const { text, applied } = await send(app(), path, { ...sent, ...(headers ? { headers } : {}) })
        const answers: object[] = JSON.parse(text)
        return [applied, ...answers.map((answer) => Object.keys(answer)[0])]
      }
      expect(await outcomes()).toEqual([null, 'error', 'result'])
      expect(await outcomes(LENIENT)).toEqual(['handling=lenient', 'result', 'result'])
    }
  })

  test('is named with others of its object, up to 20, however long the names are', async () => {
    const long = 'x'.repeat(500_000)
    const many = Object.fromEntries(Array.from({ length: 20_000 }, (_, index) => [`field_${index}`, 1]))
    const { body, status } = await app().api.call('POST', '/api/experiments', { name: 'a', [long]: 1, ...many })
    expect([status, body.issues.length, body.message.length]).toEqual([400, 20, 1000])
  })

  test('is only ignored for that preference, in any of its forms', async () => {
    const sent = (prefer: string) =>
      send(app(), 'POST /api/segments/preview', { body: { rule: {} }, headers: { prefer } })
    for (const prefer of ['handling=lenient', 'Handling="lenient"', 'wait=5, handling = lenient; x=1'])
      expect((await sent(prefer)).applied, prefer).toBe('handling=lenient')
    for (const prefer of ['handling=strict', 'lenient', 'nothandling=lenient', 'handling=lenientish'])
      expect(await sent(prefer), prefer).toMatchObject({ status: 400, applied: null })
  })

  test('of a check that memory could answer is refused, too', async () => {
    const experiment = await app().api.makeExperiment()
    await app().api.variantOf('ada', experiment)
    const body = { user_id: 'ada', experiment_ids: [experiment.id], atributes: {} }
    const message = 'unknown field atributes (did you mean attributes?)'
    await expectRefused('POST /api/experiments/check-eligibility', { body }, message)
  })
})
