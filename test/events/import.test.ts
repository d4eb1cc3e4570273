import { request } from 'node:http'
import { Readable } from 'node:stream'
import { expect, test } from 'vitest'
import { linesOf } from '../../server/events/lines.ts'
import type { Loose } from '../support/api.ts'
import { onEachDatabase, type TestApp } from '../support/app.ts'

type Upload = string | Buffer | AsyncIterable<Buffer>

/** Sends an upload and reads the answer's lines. */
async function send(
  { url, api }: TestApp,
  upload: Upload,
  options: { type?: string; token?: string; query?: string } = {},
) {
  const { type = 'application/x-ndjson', token = api.token, query = '' } = options
  const response = await fetch(`${url}/api/events/import${query}`, {
    method: 'POST',
    headers: { authorization: `Bearer ${token}`, 'content-type': type },
    body: typeof upload === 'string' || Buffer.isBuffer(upload) ? upload : (Readable.from(upload) as never),
    duplex: 'half',
  } as RequestInit)
  const text = await response.text()
  const lines: Loose[] = response.ok
    ? text
        .trimEnd()
        .split('\n')
        .map((line) => JSON.parse(line))
    : [JSON.parse(text)]
  return { status: response.status, lines, last: lines.at(-1) }
}

const line = (event: object) => `${JSON.stringify({ attributes: {}, ...event })}\n`
const stored = (app: TestApp, type: string) =>
  app.platform.orm.em
    .fork()
    .execute<{ count: number }[]>('select count(*)::int as count from events e where e.type = ?', [type])
    .then(([row]) => row?.count)

onEachDatabase('an upload of events', (app) => {
  test('reports a line that differs from the event stored under its event_id', async () => {
    const first = line({ user_id: 'i9', type: 'reused', event_id: '9' })
    const other = line({ user_id: 'i9', type: 'reused', event_id: '9', properties: { value: 1 } })
    const { lines, last } = await send(app(), Buffer.from(`${first}${first}${other}`))
    expect(last).toMatchObject({ accepted: 1, duplicates: 2, rejected: 0 })
    const reported = lines.filter((report) => report.status !== undefined)
    expect(reported).toEqual([{ line: 3, status: 'duplicate', message: expect.stringContaining('(properties)') }])
  })

  test('stores every valid line, reports each invalid one by number, and ends with the counts', async () => {
    const { api } = app()
    const experiment = await api.makeExperiment()
    const { control } = experiment.variants
    const upload = Buffer.concat([
      Buffer.from(line({ user_id: 'i1', type: 'imported', event_id: '1' })),
      Buffer.from('\r\n{"user_id": "torn", "type": \n'),
      Buffer.from([0x7b, 0xff, 0x7d, 0x0a]),
      Buffer.from(line({ user_id: 'i2', type: 7 })),
      Buffer.from('{"user_id": "i3", "type": "x", "__proto__": {}}\n'),
      Buffer.from(line({ user_id: 'i1', type: 'imported', event_id: '1' })),
      Buffer.from(line({ user_id: 'x', type: 'imported', properties: { text: 'x'.repeat(1024 * 1024) } })),
      Buffer.from(`{"user_id": "nobody we know", "type": "imported"}\r\n`),
      Buffer.from(
        line({ user_id: 'i4', type: 'imported', experiment_id: experiment.id, variant_id: control }).trimEnd(),
      ),
    ])
    const { status, lines, last } = await send(app(), upload)
    expect(status).toBe(200)
    expect(last).toEqual({ done: true, lines: 10, accepted: 2, duplicates: 1, rejected: 6, outside_run: 0 })
    expect(lines.filter((report) => report.status === 'duplicate')).toEqual([])
    const rejected = lines.filter((report) => report.status === 'rejected')
    expect(rejected.map((report) => report.line)).toEqual([3, 4, 5, 6, 8, 9])
    expect(rejected[0].message).toMatch(/^The line is not valid JSON/)
    expect(rejected[1].message).toBe('The line is not valid UTF-8')
    expect(rejected[2].issues).toEqual([{ path: ['type'], message: expect.any(String) }])
    expect(rejected[4].message).toBe('The line is longer than 1048576 bytes; shorten the event')
    expect(rejected[5].message).toBe(
      'User nobody we know is unknown: pass attributes (may be {}) with the call, or create the user first',
    )
    expect(await stored(app(), 'imported')).toBe(2)
    expect(await api.results(experiment)).toMatchObject({ externally_decided: 1 })
  })

  test('may be empty, and is refused without a key, without the scope, or with another content type', async () => {
    const { api } = app()
    expect((await send(app(), '')).last).toMatchObject({
      done: true,
      lines: 0,
      accepted: 0,
      duplicates: 0,
      rejected: 0,
    })
    expect((await send(app(), '{}', { token: 'exp_none' })).status).toBe(401)
    const { key } = await api.ok('POST', '/api/auth/keys', { name: 'reader', scopes: ['read'] })
    expect((await send(app(), '{}', { token: key })).status).toBe(403)
    expect((await send(app(), '{}', { type: 'application/json' })).status).toBe(415)
    expect((await send(app(), '{}', { query: '?sent_at=yesterday' })).status).toBe(400)
  })

  test('of 20,000 events that broke off counts no event twice when it is sent again', async () => {
    const count = 20_000
    const lines = Array.from({ length: count }, (_, index) =>
      line({ user_id: `bulk ${index % 50}`, type: 'bulk', event_id: `bulk ${index}` }),
    )
    const { url, api } = app()
    await new Promise<void>((resolve) => {
      const headers = { authorization: `Bearer ${api.token}`, 'content-type': 'application/x-ndjson' }
      const broken = request(`${url}/api/events/import`, { method: 'POST', headers })
      broken.on('error', () => resolve())
      broken.write(lines.slice(0, 5000).join(''), () => setTimeout(() => broken.destroy(), 300))
      broken.on('close', () => resolve())
    })
    const { last } = await send(app(), lines.join(''))
    expect(last).toMatchObject({ done: true, lines: count, rejected: 0 })
    expect(last.accepted + last.duplicates).toBe(count)
    expect(await stored(app(), 'bulk')).toBe(count)
  }, 60_000)

  test('keeps only a few groups in memory, even if the client reads nothing before the end', async () => {
    async function* endless() {
      for (let group = 0; group < 60; group++) {
        const text = 'x'.repeat(2000)
        yield Buffer.from(
          Array.from({ length: 500 }, (_, index) =>
            line({ user_id: `m ${index}`, type: 'many', properties: { text, group } }),
          ).join(''),
        )
      }
    }
    const before = process.memoryUsage().rss
    const { last } = await send(app(), endless())
    expect(last).toMatchObject({ done: true, accepted: 30_000 })
    expect((process.memoryUsage().rss - before) / 1024 ** 2).toBeLessThan(500)
  }, 60_000)
})

test('an upload gives the same lines, however its chunks are cut', async () => {
  const text = Buffer.from('one\ntwo\r\n\nfour is far too long\nfive')
  for (let size = 1; size <= text.length; size++) {
    const chunks = async function* () {
      for (let start = 0; start < text.length; start += size) yield text.subarray(start, start + size)
    }
    const lines: [number, string | null][] = []
    for await (const { number, bytes } of linesOf(chunks(), 10)) lines.push([number, bytes?.toString() ?? null])
    expect(lines).toEqual([
      [1, 'one'],
      [2, 'two'],
      [4, null],
      [5, 'five'],
    ])
  }
})
