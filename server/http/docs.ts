import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import compress from '@fastify/compress'
import Fastify, { type FastifyInstance } from 'fastify'

/** The document is made ahead, because its examples are recorded answers (`npm run docs`). */
const DOCUMENT = new URL('../../openapi.json', import.meta.url)
const PAGE = '/docs/'
const SCRIPT = '/docs/js/scalar.js'
/** The reader's own fonts would come from another host. On a telephone, long titles in its header widen the page. */
const STYLE = `
:root { --scalar-font: system-ui, sans-serif; --scalar-font-code: ui-monospace, Menlo, Consolas, monospace }
.t-doc__header .whitespace-nowrap { min-width: 0; overflow: hidden; text-overflow: ellipsis }`

/**
 * Serves openapi.json at /openapi.json, and at /docs a page to read and try it. The page loads nothing from other
 * hosts, so it works offline.
 * @param make makes the page at its first request, and again after a failure
 */
export async function docsRoutes(app: FastifyInstance, make = makeReader) {
  const document = readFileSync(DOCUMENT)
  let made: ReturnType<typeof makeReader> | undefined
  const reader = () => {
    made ??= make().catch((error) => {
      made = undefined
      throw error
    })
    return made
  }
  app.get('/', (_request, reply) => reply.redirect(PAGE))
  // Browsers ask for an icon of every site.
  app.get('/favicon.ico', (_request, reply) => reply.code(204).send())
  await app.register(async (scope) => {
    await scope.register(compress, { encodings: ['gzip'] })
    scope.get('/openapi.json', (_request, reply) => reply.type('application/json; charset=utf-8').send(document))
    scope.get(PAGE, async ({ url }, reply) => {
      // The page names its files relative to itself.
      if (!url.startsWith(PAGE)) return reply.redirect(PAGE)
      const { page, policy } = await reader()
      return reply.type('text/html; charset=utf-8').header('content-security-policy', policy).send(page)
    })
    scope.get(SCRIPT, async (_request, reply) => {
      const { script } = await reader()
      return reply.type('text/javascript; charset=utf-8').header('cache-control', 'public, max-age=3600').send(script)
    })
  })
}

/** Makes the page and its script. The package is loaded here, when somebody reads the page, because it takes 36 MB. */
export async function makeReader() {
  const { default: scalar } = await import('@scalar/fastify-api-reference')
  const maker = Fastify({ routerOptions: { ignoreTrailingSlash: true } })
  await maker.register(scalar, {
    routePrefix: '/docs',
    configuration: {
      url: '../openapi.json',
      pageTitle: 'Experimentation platform',
      customCss: STYLE,
      withDefaultFonts: false,
      telemetry: false,
      agent: { disabled: true },
      mcp: { disabled: true },
      hideClientButton: true,
      showDeveloperTools: 'never',
      documentDownloadType: 'direct',
      persistAuth: true,
      authentication: { preferredSecurityScheme: 'bearer' },
      defaultHttpClient: { targetKey: 'shell', clientKey: 'curl' },
    },
  })
  const { body: page } = await maker.inject(PAGE)
  const { body: script } = await maker.inject(SCRIPT)
  await maker.close()
  return { page, policy: policyOf(page), script }
}

/** Makes the policy of a page that runs its own scripts only: files of this server, and what stands in the page. */
function policyOf(page: string): string {
  const inline = [...page.matchAll(/<script[^>]*>([\s\S]*?)<\/script>/g)].map(([, code = '']) => code).filter(Boolean)
  const digests = inline.map((code) => `'sha256-${createHash('sha256').update(code).digest('base64')}'`)
  return [
    "default-src 'none'",
    ["script-src 'self'", ...digests].join(' '),
    "style-src 'self' 'unsafe-inline'",
    "img-src 'self' data:",
    "connect-src 'self'",
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
  ].join('; ')
}
