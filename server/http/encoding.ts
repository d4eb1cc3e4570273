import type { IncomingMessage } from 'node:http'
import { Transform } from 'node:stream'
import { createBrotliDecompress, createGunzip, createZstdDecompress } from 'node:zlib'
import type { FastifyInstance } from 'fastify'

/** Reads compressed bodies (`Content-Encoding`), with a limit on what they expand to. */

const DECOMPRESSORS = {
  gzip: createGunzip,
  'x-gzip': createGunzip,
  br: createBrotliDecompress,
  zstd: createZstdDecompress,
} as const
const ACCEPTED = 'gzip, br, zstd'
/** A body may expand to this many times its size. */
const MAX_RATIO = 20
/** A body may expand to this size in any case: short bodies that repeat themselves compress better. */
const FREE_BYTES = 16 * 1024

const refused = (statusCode: number, message: string) => Object.assign(new Error(message), { statusCode })

/** True for a body that has to be decompressed, or whose encoding has to be refused. */
export const isEncoded = ({ headers }: Pick<IncomingMessage, 'headers'>) => {
  const encoding = headers['content-encoding']
  return encoding !== undefined && encoding.trim().toLowerCase() !== 'identity'
}

/**
 * Decompresses the bodies of an application. The limits of the routes apply to what a body expands to. An encoding that
 * is not supported is a 415 that names the supported ones (RFC 7694).
 */
export function decodeBodies(app: FastifyInstance) {
  app.addHook('preParsing', (request, reply, payload, done) => {
    if (request.method === 'GET' || request.method === 'HEAD' || !isEncoded(request)) return done(null, payload)
    const encoding = (request.headers['content-encoding'] ?? '').trim().toLowerCase()
    // The rest of a refused body is not read.
    const refuse = (statusCode: number, message: string) => {
      reply.header('connection', 'close')
      return refused(statusCode, message)
    }
    if (!Object.hasOwn(DECOMPRESSORS, encoding)) {
      reply.header('accept-encoding', ACCEPTED)
      return done(refuse(415, `Content-Encoding ${encoding} is not supported: send gzip, br, zstd, or no encoding`))
    }
    const decompressor = DECOMPRESSORS[encoding as keyof typeof DECOMPRESSORS]()
    let encoded = 0
    let expanded = 0
    const counter = new Transform({
      transform: (chunk: Buffer, _encoding, next) => {
        expanded += chunk.length
        if (expanded <= Math.max(FREE_BYTES, encoded * MAX_RATIO)) return next(null, chunk)
        next(refuse(413, `The body expands to more than ${MAX_RATIO} times its size: send it without compression`))
      },
    })
    payload.on('data', (chunk: Buffer) => {
      encoded += chunk.length
    })
    // A body can fail before its route reads it, which finds the error then; without a listener it would end the process.
    counter.on('error', () => undefined)
    payload.once('error', (error) => counter.destroy(error))
    decompressor.once('error', () => counter.destroy(refuse(400, `The body is not valid ${encoding}`)))
    counter.once('close', () => {
      payload.unpipe(decompressor)
      payload.resume()
      decompressor.destroy()
    })
    payload.pipe(decompressor).pipe(counter)
    // Fastify compares this with the Content-Length.
    Object.defineProperty(counter, 'receivedEncodedLength', { get: () => encoded })
    done(null, counter)
  })
}
