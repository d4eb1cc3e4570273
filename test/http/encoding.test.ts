import { setTimeout as wait } from 'node:timers/promises'
import { brotliCompressSync, deflateSync, gzipSync, zstdCompressSync } from 'node:zlib'
import Fastify from 'fastify'
import { expect, test } from 'vitest'
import { decodeBodies } from '../../server/http/encoding.ts'
import { onOneDatabase } from '../support/app.ts'

const ENCODINGS: [string, (text: string) => Buffer][] = [
  ['gzip', gzipSync],
  ['GZIP', gzipSync],
  ['x-gzip', gzipSync],
  ['br', brotliCompressSync],
  ['zstd', zstdCompressSync],
  ['identity', Buffer.from],
]

let made = 0
const event = () => ({ user_id: `sender ${++made} ${Math.random()}`, type: 'click', attributes: {} })

onOneDatabase('a compressed body', (app) => {
  async function send(path: string, encoding: string, body: Buffer | ReadableStream, type = 'application/json') {
    const { url, api } = app()
    const response = await fetch(`${url}${path}`, {
      method: 'POST',
      headers: { authorization: `Bearer ${api.token}`, 'content-type': type, 'content-encoding': encoding },
      body,
      ...(body instanceof ReadableStream ? { duplex: 'half' } : {}),
    } as RequestInit)
    return { status: response.status, text: await response.text(), headers: response.headers }
  }

  test.each(ENCODINGS)('in %s is read on every way in', async (encoding, compress) => {
    const experiment = await app().api.makeExperiment()
    const check = { user_id: `user ${encoding}`, experiment_ids: [experiment.id], attributes: {} }
    const bodies: [string, object][] = [
      ['/api/events/batch', { events: Array.from({ length: 200 }, event) }],
      ['/api/events', event()],
      ['/api/experiments/check-eligibility', check],
      ['/api/experiments/check-eligibility', check],
      ['/trpc/events.record', event()],
      ['/ofrep/v1/evaluate/flags', { context: { targetingKey: 'ada' } }],
    ]
    for (const [path, body] of bodies) {
      const { status, text } = await send(path, encoding, compress(JSON.stringify(body)))
      expect([path, status, text.slice(0, 200)]).toEqual([path, 200, expect.any(String)])
      if (path.endsWith('batch')) expect(JSON.parse(text)).toMatchObject({ accepted: 200 })
    }
    const lines = Array.from({ length: 50 }, () => JSON.stringify(event())).join('\n')
    const imported = await send('/api/events/import', encoding, compress(lines), 'application/x-ndjson')
    expect(JSON.parse(imported.text)).toMatchObject({ done: true, accepted: 50 })
  })

  test('may arrive in chunks without a length', async () => {
    const bytes = gzipSync(JSON.stringify(event()))
    const chunks = new ReadableStream({
      start: (controller) => {
        for (const byte of bytes) controller.enqueue(Uint8Array.of(byte))
        controller.close()
      },
    })
    expect(await send('/api/events', 'gzip', chunks)).toMatchObject({ status: 200 })
  })

  test.each(['deflate', 'compress', 'gzip, br', 'gzip, gzip', 'toString', ''])(
    'in another encoding is a 415 that names the accepted ones: %s',
    async (encoding) => {
      for (const path of ['/api/events', '/api/events/import', '/trpc/events.record']) {
        const type = path.endsWith('import') ? 'application/x-ndjson' : 'application/json'
        const { status, text, headers } = await send(path, encoding, deflateSync(JSON.stringify(event())), type)
        expect([path, status]).toEqual([path, 415])
        expect(JSON.parse(text)).toMatchObject({
          code: 'UNSUPPORTED_MEDIA_TYPE',
          message: expect.stringContaining('zstd'),
        })
        expect(headers.get('accept-encoding')).toBe('gzip, br, zstd')
      }
    },
  )

  test.each(ENCODINGS.slice(0, 5))(
    'that is not valid %s, or is cut off, is a 400 that says so',
    async (encoding, compress) => {
      const whole = compress(JSON.stringify(event()))
      for (const bytes of [Buffer.from('{"user_id": "ada"}'), whole.subarray(0, -6), Buffer.alloc(0)])
        for (const path of ['/api/events', '/api/events/import']) {
          const type = path.endsWith('import') ? 'application/x-ndjson' : 'application/json'
          const { status, text } = await send(path, encoding, bytes, type)
          if (bytes.length === 0 && path.endsWith('import')) continue
          expect([path, status]).toEqual([path, 400])
          if (bytes.length > 0) expect(JSON.parse(text).message).toBe(`The body is not valid ${encoding.toLowerCase()}`)
        }
    },
  )

  test('may expand to 20 times its size and to the limit of its route, and no further', async () => {
    const bomb = JSON.stringify({ ...event(), properties: { text: ' '.repeat(900_000) } })
    const text = Array.from({ length: 60_000 }, () => Math.random().toString(36).slice(2)).join('')
    const long = JSON.stringify({ ...event(), properties: { text: text.repeat(2) } })
    const short = JSON.stringify({ ...event(), properties: { text: 'x'.repeat(10_000) } })
    for (const [encoding, compress] of ENCODINGS.slice(0, 5)) {
      const refused = await send('/api/events', encoding, compress(bomb))
      expect(refused).toMatchObject({ status: 413, text: expect.stringContaining('20 times its size') })
      expect(await send('/api/events', encoding, compress(long))).toMatchObject({ status: 413 })
      expect(await send('/api/events', encoding, compress(short))).toMatchObject({ status: 200 })
    }
    const lines = `${JSON.stringify(event())}\n`.repeat(100_000)
    const broken = await send('/api/events/import', 'gzip', gzipSync(lines), 'application/x-ndjson')
    expect(broken.text).toContain('20 times its size')
  })

  test('in an answer is not a body of the caller: GET ignores the header', async () => {
    const { url, api } = app()
    const headers = { authorization: `Bearer ${api.token}`, 'content-encoding': 'deflate' }
    expect((await fetch(`${url}/api/experiments`, { headers })).status).toBe(200)
  })
})

test('a broken body that fails before its route reads it is a 400, and does not end the process', async () => {
  const app = Fastify()
  decodeBodies(app)
  app.addContentTypeParser('application/x-ndjson', (_request, payload, done) => done(null, payload))
  app.post('/slow', async ({ body }) => {
    await wait(50)
    for await (const _chunk of body as AsyncIterable<Buffer>);
    return {}
  })
  const headers = { 'content-type': 'application/x-ndjson', 'content-encoding': 'gzip' }
  const { statusCode, body } = await app.inject({ method: 'POST', url: '/slow', headers, payload: 'no gzip' })
  expect([statusCode, JSON.parse(body).message]).toEqual([400, 'The body is not valid gzip'])
  await app.close()
})
