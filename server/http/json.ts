import { isUtf8 } from 'node:buffer'
import type { FastifyInstance } from 'fastify'
import { parse } from 'secure-json-parse'

const refused = (message: string) => Object.assign(new Error(message), { statusCode: 400 })

/**
 * Reads JSON strictly: broken UTF-8 and `__proto__` keys are refused.
 * @throws Error with status 400 that says what is wrong
 */
export function parseJson(bytes: Buffer): unknown {
  if (!isUtf8(bytes)) throw refused('The body is not valid UTF-8')
  try {
    return parse(bytes.toString('utf8'))
  } catch (error) {
    throw refused(`The body is not valid JSON: ${(error as Error).message}`)
  }
}

/**
 * Makes JSON the only content type of a scope; an empty body is a missing one.
 * @param give what the handler gets of a body that is not empty
 */
export function readJson(app: FastifyInstance, give: (bytes: Buffer) => unknown) {
  app.removeAllContentTypeParsers()
  app.addContentTypeParser('application/json', { parseAs: 'buffer' }, (_request, body, done) => {
    try {
      done(null, body.length === 0 ? undefined : give(body as Buffer))
    } catch (error) {
      done(error as Error)
    }
  })
}
