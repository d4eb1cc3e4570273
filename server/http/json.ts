import { isUtf8 } from 'node:buffer'
import type { FastifyInstance } from 'fastify'
import { parse } from 'secure-json-parse'

const refused = (message: string, statusCode = 400) => Object.assign(new Error(message), { statusCode })

/**
 * Parses JSON strictly: invalid UTF-8 and `__proto__` keys are refused.
 * @throws Error with status 400 whose message names the fault
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
 * Makes JSON the only content type of a Fastify scope. An empty body counts as a missing one.
 * @param read converts the bytes of a body to the value that the handler receives
 */
export function readJson(app: FastifyInstance, read: (bytes: Buffer) => unknown) {
  app.removeAllContentTypeParsers()
  app.addContentTypeParser('application/json', { parseAs: 'buffer' }, (_request, body, done) => {
    try {
      done(null, body.length === 0 ? undefined : read(body as Buffer))
    } catch (error) {
      done(error as Error)
    }
  })
  refuseOtherTypes(app, 'application/json')
}

/** Makes a Fastify scope name the accepted content type to a request of another one. */
export function refuseOtherTypes(app: FastifyInstance, accepted: string) {
  app.addContentTypeParser('*', ({ headers }, _body, done) => {
    const given = headers['content-type']
    const fault = given === undefined ? 'The content type is missing' : `The content type ${given} is not accepted`
    done(refused(`${fault}: send ${accepted}`, 415))
  })
}
