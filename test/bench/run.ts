import { benchDecisions } from './decisions.ts'

/** `npm run bench -- <name> [options]`: each bench answers one question and says in its table what it compared. */
const benches: Record<string, (options: string[]) => Promise<void>> = { decisions: benchDecisions }

const [name = '', ...options] = process.argv.slice(2)
const bench = benches[name]
if (bench) await bench(options)
else {
  console.error(`Usage: npm run bench -- ${Object.keys(benches).join(' | ')} [--help]`)
  process.exitCode = 1
}
