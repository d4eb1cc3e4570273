import { type Operation, operations } from './operations.ts'

export type Example = Operation & {
  readonly method: string
  /** The path of the example, with its ids. */
  readonly path: string
  /** True if the example sends an API key. */
  readonly keyed: boolean
  readonly sent: Readonly<Record<string, unknown>> | undefined
}

/** The section "Usage" of the specification repeats three examples as one flow. */
const usage = ['Check Experiment Eligibility and Get Variant', 'Create an Event', 'Get Events'].map((title) => {
  const operation = operations.find((candidate) => candidate.title === title) as Operation
  return { ...operation, title: `Usage: ${title}` }
})

/** All curl examples of the specification, in its order. */
export const examples: readonly Example[] = [...operations, ...usage].map((operation) => ({
  ...operation,
  ...parseCurl(operation.curl),
}))

/** Reads the request that a curl command sends. */
function parseCurl(text: string) {
  const data = /-d '(.*)'/s.exec(text)?.[1]
  const url = /http:\/\/localhost:8000(\S+)/.exec(text)?.[1]
  if (!url) throw new Error(`No URL in ${text}`)
  return {
    method: /-X (\w+)/.exec(text)?.[1] ?? 'GET',
    path: url,
    keyed: text.includes('Authorization: Bearer'),
    sent: data === undefined ? undefined : (JSON.parse(data) as Record<string, unknown>),
  }
}
