import { spawn } from 'node:child_process'
import { dirname } from 'node:path'

/** Environment variables with which this machine reaches the package registry: proxies and certificates. */
const NETWORK = [
  'NODE_EXTRA_CA_CERTS',
  'HTTP_PROXY',
  'HTTPS_PROXY',
  'NO_PROXY',
  'http_proxy',
  'https_proxy',
  'no_proxy',
]
const network = Object.fromEntries(
  NETWORK.flatMap((name) => (process.env[name] === undefined ? [] : [[name, process.env[name]]])),
)

export type Ended = { code: number | null; output: string }

/**
 * Runs a program to its end. The Node that runs the tests comes first on the program's PATH.
 * @param options.environment variables beside PATH, HOME and those for the network
 * @returns the exit code, and standard output and standard error as one text
 */
export function run(
  program: string,
  args: string[],
  options: { cwd?: string; environment?: Record<string, string> } = {},
): Promise<Ended> {
  const { PATH = '', HOME = '', NODE_COMPILE_CACHE = '' } = process.env
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, {
      cwd: options.cwd,
      env: {
        PATH: `${dirname(process.execPath)}:${PATH}`,
        HOME,
        NODE_COMPILE_CACHE,
        ...network,
        ...options.environment,
      },
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    let output = ''
    for (const stream of [child.stdout, child.stderr])
      stream.on('data', (data) => {
        output += data
      })
    child.on('error', reject)
    child.on('close', (code) => resolve({ code, output }))
  })
}

/** Runs a program that must succeed. @returns its output @throws Error with the output if it fails */
export async function runWell(...call: Parameters<typeof run>): Promise<string> {
  const { code, output } = await run(...call)
  if (code !== 0) throw new Error(`${call[0]} ${call[1].join(' ')} ended with ${code}:\n${output}`)
  return output
}
