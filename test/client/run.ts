import { spawn } from 'node:child_process'
import { dirname } from 'node:path'

export type Ended = { code: number | null; output: string }

/**
 * Runs a program to its end. Its output is both streams in one; the Node that runs the tests comes first on its PATH.
 * @param environment over a bare PATH and HOME
 */
export function run(
  program: string,
  args: string[],
  options: { cwd?: string; environment?: Record<string, string> } = {},
): Promise<Ended> {
  const { PATH = '', HOME = '' } = process.env
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, {
      cwd: options.cwd,
      env: { PATH: `${dirname(process.execPath)}:${PATH}`, HOME, ...options.environment },
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

/** The output of a program that must succeed. */
export async function runWell(...call: Parameters<typeof run>): Promise<string> {
  const { code, output } = await run(...call)
  if (code !== 0) throw new Error(`${call[0]} ${call[1].join(' ')} ended with ${code}:\n${output}`)
  return output
}
