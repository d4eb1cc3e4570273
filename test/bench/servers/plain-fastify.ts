import Fastify from 'fastify'

/** Runs Fastify with its defaults and one route, which reads and parses the body and answers an object. */
const answer = JSON.parse(process.env.ANSWER ?? '{}')

const app = Fastify()
app.get('/health/live', async () => answer)
app.post(process.env.ROUTE ?? '/', async () => answer)
await app.listen({ host: process.env.HOST ?? '127.0.0.1', port: Number(process.env.PORT) })
