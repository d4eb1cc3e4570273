import swagger from '@fastify/swagger'
import swaggerUi from '@fastify/swagger-ui'
import type { FastifyInstance } from 'fastify'
import { openApiDocument } from './openapi.ts'

const document = openApiDocument()
const text = JSON.stringify(document)

/**
 * Serves the generated document at /openapi.json, and at /docs a page to read it. The page loads nothing from other
 * hosts, so it works offline.
 */
export async function docsRoutes(app: FastifyInstance) {
  app.get('/openapi.json', (_request, reply) => reply.type('application/json; charset=utf-8').send(text))
  await app.register(swagger, { mode: 'static', specification: { document: document as never } })
  await app.register(swaggerUi, {
    routePrefix: '/docs',
    // The top bar is hidden: it selects other documents, and this server has only one.
    theme: {
      title: 'Experimentation platform',
      css: [{ filename: 'theme.css', content: '.swagger-ui .topbar { display: none }' }],
    },
    uiConfig: { validatorUrl: null, persistAuthorization: true, docExpansion: 'list', tryItOutEnabled: false },
    staticCSP: true,
    transformStaticCSP: (header) =>
      header
        .replace(/ upgrade-insecure-requests;?/, '')
        .replaceAll(' https:', '')
        .replace(' validator.swagger.io', ''),
  })
  app.get('/', (_request, reply) => reply.redirect('/docs'))
}
