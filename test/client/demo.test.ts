import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { freePort } from '../support/process.ts'
import { root } from './fixture.ts'
import { run, runWell } from './run.ts'

const script = join(root, 'client/examples/demo.ts')
const TIMEOUT_MS = 120_000

/** Reads the numbers in the first line that begins with a word. */
function numbersAfter(output: string, word: string): number[] {
  const line = output.split('\n').find((candidate) => candidate.trim().startsWith(`${word} `))
  if (!line) throw new Error(`No line begins with ${word}:\n${output}`)
  return [...line.slice(line.indexOf(word) + word.length).matchAll(/[\d.]+/g)].map(Number)
}

describe('the demo', () => {
  test(
    'sends two thousand users through an experiment and prints numbers that agree with one another',
    async () => {
      const port = String(await freePort())
      const output = await runWell(process.execPath, [script, '--exit'], { environment: { PORT: port } })
      const [decisions = '', results = ''] = output.split('Events stored')

      const [control = 0, controlShare = 0] = numbersAfter(decisions, 'control')
      const [treatment = 0, treatmentShare = 0] = numbersAfter(decisions, 'treatment')
      const [notEligible = 0, abroad = 0, withoutPremium = 0] = numbersAfter(decisions, 'not eligible')
      expect(control + treatment + notEligible).toBe(2000)
      expect(abroad + withoutPremium).toBe(notEligible)
      expect(controlShare + treatmentShare).toBeCloseTo(100, 0)
      expect(controlShare).toBeGreaterThan(65)
      expect(controlShare).toBeLessThan(75)
      expect(decisions).toContain('Asked again, 2000 of 2000 got the same answer.')

      const [controlUsers, controlConverted = 0, controlRate = 0, lower = 0, upper = 0] = numbersAfter(
        results,
        'control',
      )
      const [treatmentUsers, treatmentConverted = 0, treatmentRate = 0] = numbersAfter(results, 'treatment')
      expect([controlUsers, treatmentUsers]).toEqual([control, treatment])
      expect(numbersAfter(results, 'page_view')).toEqual([control + treatment])
      expect(numbersAfter(results, 'conversion')).toEqual([controlConverted + treatmentConverted])
      expect(controlRate).toBeCloseTo((100 * controlConverted) / control, 2)
      expect(treatmentRate).toBeCloseTo((100 * treatmentConverted) / treatment, 2)
      expect(lower).toBeLessThan(controlRate)
      expect(upper).toBeGreaterThan(controlRate)
      const uplift = 100 * (treatmentConverted / treatment / (controlConverted / control) - 1)
      expect(results).toContain(`Winner: treatment, +${uplift.toFixed(1)} % over control`)
      await expect(fetch(`http://127.0.0.1:${port}/health/live`)).rejects.toThrow()
    },
    TIMEOUT_MS,
  )

  test(
    'keeps its platform running until it is interrupted, and then leaves nothing running',
    async () => {
      const port = String(await freePort())
      const { PATH = '', HOME = '', NODE_COMPILE_CACHE = '' } = process.env
      const demo = spawn(process.execPath, [script], { env: { PATH, HOME, NODE_COMPILE_CACHE, PORT: port } })
      let output = ''
      demo.stdout.on('data', (data) => {
        output += data
      })
      await expect.poll(() => output, { timeout: TIMEOUT_MS }).toContain('stays up until Ctrl-C')
      await expect.poll(() => output).toContain('/results -H')
      expect((await fetch(`http://127.0.0.1:${port}/health/ready`)).status).toBe(200)
      const [, example = ''] = / {2}results +(curl .*)\n/.exec(output) ?? []
      expect(JSON.parse(await runWell('sh', ['-c', `${example} --silent`]))).toMatchObject({
        winner: { variant_name: 'treatment' },
      })
      demo.kill('SIGINT')
      expect(await once(demo, 'exit')).toEqual([0, null])
      await expect(fetch(`http://127.0.0.1:${port}/health/live`)).rejects.toThrow()
    },
    TIMEOUT_MS,
  )

  test('reports that its port is taken, and how to choose another', async () => {
    const other = createServer().listen(0, '127.0.0.1')
    await once(other, 'listening')
    const { port } = other.address() as { port: number }
    const { code, output } = await run(process.execPath, [script, '--exit'], { environment: { PORT: String(port) } })
    other.close()
    expect(code).toBe(1)
    expect(output).toContain(`Port ${port} is taken`)
    expect(output).toContain(`PORT=${port + 1} npm run demo`)
  })
})
