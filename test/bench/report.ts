import { mkdirSync, writeFileSync } from 'node:fs'
import { cpus } from 'node:os'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'

const results = new URL('./results/', import.meta.url)

/**
 * Reads the options of a bench.
 * @param defaults by the option's name; the option of a number must be a number
 * @returns null after printing the help, if the options ask for it
 * @throws Error if an option is not a number but its default is
 */
export function readOptions<Options extends Record<string, number | string>>(
  args: string[],
  help: string,
  defaults: Options,
): Options | null {
  const names = Object.keys(defaults)
  const { values } = parseArgs({
    args,
    options: {
      help: { type: 'boolean' },
      ...Object.fromEntries(names.map((name) => [name, { type: 'string' as const }])),
    },
  })
  if (values.help) {
    console.log(help)
    return null
  }
  const given = values as Record<string, string | undefined>
  const read = (name: string) => {
    const text = given[name]
    if (text === undefined || typeof defaults[name] === 'string') return text ?? defaults[name]
    if (!/^\d+(\.\d+)?$/.test(text)) throw new Error(`--${name}: ${text} is not a number`)
    return Number(text)
  }
  return Object.fromEntries(names.map((name) => [name, read(name)])) as Options
}

/** Writes a file in `results/`, named after the bench and the time. */
export function writeResult(name: string, content: unknown, extension: 'json' | 'cpuprofile' = 'json') {
  mkdirSync(results, { recursive: true })
  const file = new URL(`${name}-${new Date().toISOString().replace(/[:.]/g, '-')}.${extension}`, results)
  writeFileSync(file, JSON.stringify(content, null, extension === 'json' ? 2 : 0))
  console.log(`\nwrote ${fileURLToPath(file)}`)
}

export const machine = () => ({ node: process.version, cpu: cpus()[0]?.model, cores: cpus().length })

export const round = (value: number, decimals: number) => Number(value.toFixed(decimals))
