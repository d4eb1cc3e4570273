import { createClient, isPlatformError } from '../index.ts'

/**
 * This example is a whole experiment in one script. Run `npm start` in one terminal and
 * `node client/examples/quickstart.ts` in another. The script can run again: it finds its experiment, all users keep
 * their variant, and no event counts twice.
 */

const NAME = 'Quickstart: green or blue button'
const USERS = 200
const url = process.env.PLATFORM_URL ?? 'http://127.0.0.1:8000'

try {
  await runQuickstart()
} catch (error) {
  process.exitCode = 1
  if (isPlatformError(error) && error.data) console.error(`${error.data.code}: ${error.message}`)
  else if (isPlatformError(error) || isFetchFailure(error))
    console.error(`No platform answers at ${url}: start one with npm start, or set PLATFORM_URL`)
  else throw error
}

async function runQuickstart() {
  const client = createClient({ url, apiKey: await createKey() })

  const experiment = await findOrCreateExperiment(client)
  console.log(
    `Experiment ${experiment.id}, "${experiment.name}", run ${experiment.runs.at(-1)?.number ?? 'not started'}`,
  )

  // Concurrent calls share requests: these 200 calls make two. With attributes, a user needs no profile.
  const users = Array.from({ length: USERS }, (_, index) => `quickstart-${index + 1}`)
  const decisions = await Promise.all(
    users.map(async (user_id) => {
      const answer = await client.assignments.checkEligibility.mutate({
        user_id,
        experiment_ids: [experiment.id],
        attributes: {},
      })
      return { user_id, variant: answer.eligible_experiment_ids[experiment.id] }
    }),
  )
  for (const { name } of experiment.variants)
    console.log(`  ${name}: ${decisions.filter(({ variant }) => variant?.variant_name === name).length} users`)

  // Every third user of control buys, and every second user of treatment. The event_id makes a repetition harmless.
  const buyers = decisions.filter(({ user_id, variant }) => {
    const number = Number(user_id.split('-')[1])
    return variant && number % (variant.variant_name === 'control' ? 3 : 2) === 0
  })
  const { accepted, duplicates } = await client.events.recordBatch.mutate({
    events: buyers.map(({ user_id, variant }) => ({
      user_id,
      experiment_id: experiment.id,
      variant_id: variant?.variant_id,
      type: 'conversion',
      event_id: 'quickstart purchase',
      properties: { value: 99.99 },
      attributes: {},
    })),
  })
  console.log(`Events: ${accepted} accepted, ${duplicates} duplicates`)

  const results = await client.results.get.query({ experiment_id: experiment.id })
  console.log(`Results for "${results.conversion_event_type}"`)
  for (const variant of results.variants) {
    const { lower, upper } = variant.confidence_interval
    const counts = `${variant.conversions} of ${variant.total_users}`
    const rate = `${variant.conversion_rate.toFixed(1)} % (${lower.toFixed(1)} to ${upper.toFixed(1)})`
    const pValue = variant.p_value === null ? '' : `, p = ${variant.p_value.toPrecision(2)}`
    console.log(`  ${variant.variant_name}: ${counts} converted, ${rate}${pValue}`)
  }
  const { winner } = results
  console.log(winner ? `Winner: ${winner.variant_name}, ${winner.relative_uplift.toFixed(1)} % better` : 'No winner')
}

function isFetchFailure(error: unknown) {
  return error instanceof TypeError && error.cause !== undefined
}

/**
 * Creates a key through REST, as every first key is created. ADMIN_TOKEN is needed if only administrators may do so.
 */
async function createKey(): Promise<string> {
  const token = process.env.ADMIN_TOKEN
  const response = await fetch(`${url}/api/auth/keys`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...(token ? { authorization: `Bearer ${token}` } : {}) },
    body: JSON.stringify({ name: 'quickstart' }),
  })
  const body = (await response.json()) as { key: string; message?: string }
  if (!response.ok) throw new Error(`The platform created no API key: ${body.message}`)
  return body.key
}

async function findOrCreateExperiment(client: ReturnType<typeof createClient>) {
  const known = (await client.experiments.list.query({})).find(({ name }) => name === NAME)
  if (known) return client.experiments.get.query({ experiment_id: known.id })
  const { id: experiment_id } = await client.experiments.create.mutate({ name: NAME, hypothesis: 'Green sells more' })
  await client.experiments.addVariant.mutate({ experiment_id, name: 'control', percent_allocated: 50 })
  await client.experiments.addVariant.mutate({
    experiment_id,
    name: 'treatment',
    percent_allocated: 50,
    payload: { color: 'green' },
  })
  await client.experiments.start.mutate({ experiment_id })
  return client.experiments.get.query({ experiment_id })
}
