import { OFREPWebProvider } from '@openfeature/ofrep-web-provider'
import { OpenFeature } from '@openfeature/web-sdk'
import { createClient } from '../index.ts'
import { createReporter, exposureHook, withTracking } from '../openfeature.ts'

/**
 * This example is a page that reads an experiment as a flag, through OpenFeature. Run `npm start` in one terminal and
 * `node client/examples/openfeature.ts` in another. Every visitor gets a variant. Only the visitors who get as far as
 * the checkout are shown their variant, and only they count.
 */

const KEY = 'openfeature-example'
const VISITORS = 40
const url = process.env.PLATFORM_URL ?? 'http://127.0.0.1:8000'

const apiKey = await createKey()
const platform = createClient({ url, apiKey })
const experiment_id = await findOrCreateExperiment()

const reporter = createReporter({ url, apiKey })
const provider = new OFREPWebProvider({
  baseUrl: url,
  headers: [['Authorization', `Bearer ${apiKey}`]],
  // A browser caches answers and listens for changes. A script has no storage and no EventSource for this.
  cacheMode: 'disabled',
  changeDetection: 'none',
})
OpenFeature.addHooks(exposureHook(reporter))
await OpenFeature.setContext({ targetingKey: 'visitor-1' })
await OpenFeature.setProviderAndWait(withTracking(provider, reporter))
const client = OpenFeature.getClient()

for (let visitor = 1; visitor <= VISITORS; visitor++) {
  await OpenFeature.setContext({ targetingKey: `visitor-${visitor}` })
  if (visitor % 2 === 0) continue
  const color = client.getStringValue(KEY, 'grey')
  if (color === 'green' || visitor % 3 === 0) client.track('conversion', { value: 99.99 })
}
await reporter.close()
await OpenFeature.close()

const results = await platform.results.get.query({ experiment_id })
const shown = results.variants.reduce((sum, variant) => sum + variant.total_users, 0)
console.log(`${VISITORS} visitors, ${shown} of whom were shown the button`)
for (const { variant_name, total_users, conversions } of results.variants)
  console.log(`  ${variant_name}: ${conversions} of ${total_users} converted`)

/**
 * Creates a key through REST, as every first key is created. ADMIN_TOKEN is needed if only administrators may do so.
 */
async function createKey(): Promise<string> {
  const token = process.env.ADMIN_TOKEN
  const response = await fetch(`${url}/api/auth/keys`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...(token ? { authorization: `Bearer ${token}` } : {}) },
    body: JSON.stringify({ name: KEY }),
  })
  const body = (await response.json()) as { key: string; message?: string }
  if (!response.ok) throw new Error(`The platform created no API key: ${body.message}`)
  return body.key
}

async function findOrCreateExperiment(): Promise<number> {
  const known = (await platform.experiments.list.query({})).find(({ key }) => key === KEY)
  if (known) return known.id
  const { id: experiment_id } = await platform.experiments.create.mutate({
    name: 'The button, by OpenFeature',
    key: KEY,
  })
  const variants = { control: 'grey', treatment: 'green' }
  for (const [name, payload] of Object.entries(variants))
    await platform.experiments.addVariant.mutate({ experiment_id, name, percent_allocated: 50, payload })
  await platform.experiments.start.mutate({ experiment_id })
  return experiment_id
}
