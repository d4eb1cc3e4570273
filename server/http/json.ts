import { isUtf8 } from 'node:buffer'
import type { FastifyInstance } from 'fastify'
import { parse } from 'secure-json-parse'

const refused = (message: string) => Object.assign(new Error(message), { statusCode: 400 })

/** Reads JSON bodies: an empty one is a missing one; broken UTF-8 and `__proto__` keys are refused. */
export function readJson(app: FastifyInstance) {
  app.removeAllContentTypeParsers()
  app.addContentTypeParser('application/json', { parseAs: 'buffer' }, (_request, body, done) => {
    const bytes = body as Buffer
    if (bytes.length === 0) return done(null, undefined)
    if (!isUtf8(bytes)) return done(refused('The body is not valid UTF-8'))
    try {
      done(null, parse(bytes.toString('utf8')))
    } catch (error) {
      done(refused(`The body is not valid JSON: ${(error as Error).message}`))
    }
  })
}
