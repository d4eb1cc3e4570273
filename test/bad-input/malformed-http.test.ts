import { expect, test } from 'vitest'
import { onOneDatabase } from '../support/app.ts'
import { dumpTables } from './dump.ts'
import { createSender } from './send.ts'

const head = (line: string, ...headers: string[]) => `${[line, 'Host: platform', ...headers].join('\r\n')}\r\n\r\n`
const post = (...headers: string[]) =>
  head('POST /api/experiments HTTP/1.1', 'Content-Type: application/json', ...headers)

/** Requests that are not valid HTTP. */
const malformed: Record<string, string> = {
  'a text that is not HTTP': 'hello\r\n\r\n',
  'an unknown method': head('FOO /api/users HTTP/1.1'),
  'a null byte in the path': head('GET /api/users\0 HTTP/1.1'),
  'a space in the path': head('GET /api/us ers HTTP/1.1'),
  'an unknown version': head('GET /api/users HTTP/9.9'),
  'a length that is not a number': post('Content-Length: abc'),
  'a negative length': post('Content-Length: -1'),
  'two lengths': post('Content-Length: 2', 'Content-Length: 3'),
  'both a length and chunks': post('Content-Length: 2', 'Transfer-Encoding: chunked'),
  'chunks without a size': `${post('Transfer-Encoding: chunked')}zz\r\n{}\r\n`,
  'a header without a colon': head('GET /api/users HTTP/1.1', 'nonsense'),
  'a null byte in a header': head('GET /api/users HTTP/1.1', 'X-Header: a\0b'),
  'headers over the limit': head('GET /api/users HTTP/1.1', `X-Header: ${'x'.repeat(20_000)}`),
  'a path over the limit': head(`GET /api/users/${'x'.repeat(20_000)} HTTP/1.1`),
}

/** Requests whose body ends too early, after which the connection is closed. */
const cutOff = [
  `${post('Content-Length: 100')}{"name":"cut off"}`,
  `${post('Transfer-Encoding: chunked')}13\r\n{"name":"cut off"}`,
  `${post('Content-Length: 18')}{"name":"cut o`,
]

onOneDatabase('a malformed HTTP request', (app) => {
  test.each(Object.entries(malformed))('gets a 4xx in the common shape of errors: %s', async (_, bytes) => {
    const sender = createSender(app().url)
    const answer = await sender.sendBytes(bytes)
    expect(answer).toMatch(/^HTTP\/1\.1 4\d\d /)
    const [, body = ''] = answer.split('\r\n\r\n')
    expect(JSON.parse(body)).toEqual({ message: expect.any(String), code: expect.any(String) })
  })

  test('changes nothing if its body is cut off, and the server answers the next request', async () => {
    const before = await dumpTables(app())
    const sender = createSender(app().url)
    for (const bytes of cutOff) expect(await sender.sendBytes(bytes)).not.toMatch(/^HTTP\/1\.1 [25]/)
    expect((await app().api.call('GET', '/api/experiments')).status).toBe(200)
    expect(await dumpTables(app())).toEqual(before)
  })
})
