import { spawn } from 'node:child_process'
import { globSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { compileCondition } from '../server/evaluation/condition.ts'
import { hasPostgres, openApp, type TestApp } from './support/app.ts'
import { atAddress, blocksOf, codeOf, readDocument, sectionOf, writeExample } from './support/documents.ts'
import { type Answers, canPasteInto, pasteInto, SHELLS } from './support/terminal.ts'

const root = fileURLToPath(new URL('..', import.meta.url))
const pages = globSync('docs/**/*.md', { cwd: root }).sort()
const withShell = pages.filter((page) => codeOf(readDocument(page), 'sh').length > 0)
/** The pages continue in the shell of this section. */
const fiveMinutes = codeOf(sectionOf(readDocument('README.md'), 'Five minutes with curl'), 'sh')

/** The output that the last block of each page must print. All calls of a page are also checked for errors. */
const lastAnswers: Record<string, (answers: Answers) => void> = {
  'docs/deciding.md': (answers) =>
    expect(answers).toMatchObject([
      { decided_as: 'ada', outcome: 'stored' },
      { user_id: 'linus', outcome: 'left out', reason: 'not targeted' },
    ]),
  'docs/events.md': (answers) => {
    expect(answers[0]).toContain('cursor,id,user_id')
    expect(answers.at(-1)).toMatchObject({ user_id: 'linus', exposure_source: 'report' })
  },
  'docs/flags.md': ([evaluated, explained]) => {
    expect(Object.values((evaluated as { flags: object }).flags)).toMatchObject([{ value: true, rule: 'staff' }])
    expect(explained).toMatchObject({ user_id: 'ada', steps: [{ rule: 'staff', outcome: 'passed over' }, {}] })
  },
  'docs/requests.md': ([updated]) => expect(updated).toMatchObject({ hypothesis: 'One page sells more' }),
  'docs/results.md': (answers) => {
    expect(answers.slice(0, 2)).toMatchObject([{ status: 'completed' }, { state: 'frozen' }])
    expect(answers.at(-1)).toMatch(/is what its statistics say/)
  },
}

/** Defines browser objects that Node lacks, and prints a line when all requests are sent. */
const BROWSER = "import { EventSource } from 'eventsource'\nObject.assign(globalThis, { EventSource })\n"
const SENT = "await reporter.flush()\nconsole.log('sent')\n"

const isError = (answer: unknown) =>
  typeof answer === 'object' && answer !== null && 'code' in answer && 'message' in answer

describe.each(withShell)('the shell blocks of %s work as they stand', (page) => {
  const blocks = codeOf(readDocument(page), 'sh')
  for (const shell of SHELLS)
    test.runIf(canPasteInto(shell))(
      `pasted into an interactive ${shell}`,
      async () => {
        const app = await openApp(hasPostgres() ? 'postgres' : 'embedded')
        try {
          const pasted = [...fiveMinutes, ...blocks].map((code) => atAddress(code, app.url))
          const answers = await pasteInto(shell, pasted)
          expect(answers.flat().filter(isError)).toEqual([])
          lastAnswers[page]?.(answers.at(-1) ?? [])
          if (page === 'docs/events.md') checkImport(blocks, answers.slice(fiveMinutes.length))
        } finally {
          await app.close()
        }
      },
      60_000,
    )
})

/** The page shows the answer of the import. */
function checkImport(blocks: string[], answers: Answers[]) {
  const [shown = ''] = codeOf(readDocument('docs/events.md'), 'json')
  const imported = answers[blocks.findIndex((code) => code.includes('/events/import'))]
  expect(imported).toEqual(
    shown
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line)),
  )
}

test.runIf(canPasteInto('zsh'))(
  'a pasted block with a comment line, which zsh takes for a command, fails',
  async () => {
    await expect(pasteInto('zsh', ['# Now read it.'])).rejects.toThrow('zsh: command not found: #')
    await expect(pasteInto('zsh', ['echo What is it?'])).rejects.toThrow('zsh: no matches found: it?')
  },
  60_000,
)

test('each page with shell blocks has its answers checked', () => {
  expect(Object.keys(lastAnswers).sort()).toEqual(withShell)
})

test('every block of a document has a language that a test runs, or is plain text', () => {
  for (const page of [...pages, 'README.md', 'client/README.md', 'ARCHITECTURE.md'])
    for (const { language } of blocksOf(readDocument(page))) expect(['sh', 'ts', 'json', ''], page).toContain(language)
})

test('every condition of docs/conditions.md compiles', () => {
  const conditions = codeOf(readDocument('docs/conditions.md'), 'json')
  expect(conditions).toHaveLength(4)
  for (const text of conditions) expect(() => compileCondition(JSON.parse(text))).not.toThrow()
})

test('every link between the documents has a target', () => {
  const anchorsOf = (path: string) =>
    [...readDocument(path).matchAll(/^#+ (.*)$/gm)].map(([, title = '']) =>
      title
        .toLowerCase()
        .replaceAll(/[^\w -]/g, '')
        .replaceAll(' ', '-'),
    )
  const documents = [...pages, 'README.md', 'client/README.md', 'ARCHITECTURE.md', 'CHANGELOG.md']
  for (const page of documents)
    for (const [, target = ''] of readDocument(page).matchAll(/\]\(([^)]+)\)/g)) {
      if (/^https?:/.test(target)) continue
      const [path = '', anchor] = target.split('#')
      const file = path === '' ? page : fileURLToPath(new URL(path, `file:///${page}`)).slice(1)
      if (!file.endsWith('.md')) {
        expect(globSync(file.replace(/\/$/, ''), { cwd: root }), `${page}: ${target}`).toHaveLength(1)
        continue
      }
      const anchors = anchorsOf(file)
      if (anchor) expect(anchors, `${page}: ${target}`).toContain(anchor)
    }
})

test('docs/requests.md shows the answer to a misspelt field', async () => {
  const [shown = ''] = codeOf(readDocument('docs/requests.md'), 'json')
  const app = await openApp(hasPostgres() ? 'postgres' : 'embedded')
  try {
    const { status, body } = await app.api.call('POST', '/api/experiments', { name: 'Checkout', trafic_percent: 5 })
    expect([status, body]).toEqual([400, JSON.parse(shown)])
  } finally {
    await app.close()
  }
}, 60_000)

describe('the TypeScript examples work as they stand', () => {
  let app: TestApp
  beforeAll(async () => {
    app = await openApp(hasPostgres() ? 'postgres' : 'embedded')
    await app.api.makeExperiment()
    const rules = [{ condition: { country_code: 'US' }, value: true }]
    await app.api.ok('POST', '/api/flags', { key: 'new-checkout', type: 'boolean', default_value: false, rules })
  }, 120_000)
  afterAll(() => app?.close())

  /** Runs an example until its output holds the text. @param meanwhile is repeated until then */
  async function runUntil(code: string, text: string, meanwhile = async () => {}) {
    const example = writeExample(code.replaceAll('exp_…', app.api.token), app.url)
    const child = spawn(process.execPath, [example.file], { env: { ...process.env, API_KEY: app.api.token } })
    let output = ''
    for (const stream of [child.stdout, child.stderr])
      stream.on('data', (data) => {
        output += data
      })
    try {
      await expect
        .poll(
          async () => {
            await meanwhile()
            return output
          },
          { timeout: 20_000, interval: 100 },
        )
        .toContain(text)
    } finally {
      child.kill('SIGKILL')
      example.remove()
    }
  }
  /** Exports all events after every older transaction of the server has ended. */
  const exported = async () => {
    const headers = { authorization: `Bearer ${app.api.token}` }
    return (await fetch(`${app.url}/api/events/export?format=ndjson`, { headers })).text()
  }

  test('of docs/events.md', async () => {
    const [code = ''] = codeOf(readDocument('docs/events.md'), 'ts')
    await runUntil(code, 'ada conversion', () =>
      app.api.ok('POST', '/api/events', { user_id: 'ada', type: 'conversion', attributes: {} }),
    )
  }, 60_000)

  test('of client/README.md', async () => {
    const [call = '', failure = '', openfeature = ''] = codeOf(readDocument('client/README.md'), 'ts')
    await runUntil(call + failure, 'BAD_REQUEST')
    await runUntil(`${BROWSER}${openfeature}${SENT}`, 'sent')
    await expect.poll(exported, { timeout: 20_000 }).toContain('"type":"purchase"')
  }, 120_000)

  test('of docs/openfeature.md, in a browser', async () => {
    const [, code = ''] = codeOf(readDocument('docs/openfeature.md'), 'ts')
    await runUntil(`${BROWSER}${code}console.log(enabled)\n${SENT}`, 'sent')
    await expect.poll(exported, { timeout: 20_000 }).toContain('"type":"checkout-completed"')
  }, 60_000)
})
