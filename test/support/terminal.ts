import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, symlinkSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))
const PROMPT = 'prompt-of-the-test> '
const BLOCK_TIMEOUT_MS = 30_000
/** The shell requests bracketed paste by the first sequence; the terminal then puts pasted text between the others. */
const ASKS_FOR_MARKS = '\u001b[?2004h'
const PASTE_BEGINS = '\u001b[200~'
const PASTE_ENDS = '\u001b[201~'

const COMMANDS = {
  bash: 'bash --noprofile --norc -i',
  zsh: 'zsh -f -i',
}
export type Shell = keyof typeof COMMANDS
export const SHELLS = Object.keys(COMMANDS) as Shell[]

const isInstalled = (program: string) => spawnSync('sh', ['-c', `command -v ${program}`]).status === 0

/**
 * True if tests can paste into a shell; prints the missing programs otherwise.
 * @throws Error in CI if one is missing
 */
export function canPasteInto(shell: Shell): boolean {
  const missing = [shell, 'script', 'curl'].filter((program) => !isInstalled(program))
  if (missing.length === 0) return true
  const message = `pasting into ${shell}. Install ${missing.join(' and ')}`
  if (process.env.CI) throw new Error(`In CI no test may be skipped, but: ${message}`)
  console.warn(`\nSkipped: ${message}.\n`)
  return false
}

/** The answers of one block: each line of its output, parsed where the line is JSON. */
export type Answers = unknown[]

/**
 * Pastes blocks one after another into an interactive shell, as a person does. The shell runs on a pseudo-terminal,
 * reads no configuration, and has its defaults (zsh: no interactive comments, an error for a glob without a match).
 * Its standard output goes to a file, so that the answers contain no prompts and echoes.
 * @returns the answers of each block
 */
export async function pasteInto(shell: Shell, blocks: string[]): Promise<Answers[]> {
  const folder = mkdtempSync(join(tmpdir(), 'paste-'))
  for (const name of ['package.json', 'node_modules', 'server']) symlinkSync(join(ROOT, name), join(folder, name))
  const output = join(folder, 'output')
  const command = `${COMMANDS[shell]} > ${output}`
  const child = spawn('script', scriptArguments(command, join(folder, 'screen')), {
    cwd: folder,
    env: {
      PATH: process.env.PATH,
      HOME: folder,
      TERM: 'xterm',
      COLUMNS: '400',
      PS1: PROMPT,
      LC_ALL: 'C.UTF-8',
      HISTFILE: '',
    },
  })
  const terminal = new Terminal(child)
  try {
    const answers: Answers[] = []
    let read = 0
    for (const [index, block] of blocks.entries()) {
      const mark = `end-of-block-${index}`
      await terminal.waitForPrompt()
      terminal.paste(block.trimEnd())
      terminal.type(`echo ${mark}`)
      const text = await terminal.waitFor(() => {
        const written = readFileSync(output, 'utf8').slice(read)
        return written.includes(`${mark}\n`) ? written : undefined
      }, block)
      read += text.length
      answers.push(parseLines(text.replace(`${mark}\n`, '')))
    }
    terminal.refuseErrors()
    return answers
  } finally {
    child.kill('SIGKILL')
    rmSync(folder, { recursive: true, force: true, maxRetries: 5 })
  }
}

/** Makes the arguments of `script`, which runs a command on a pseudo-terminal: BSD's on macOS, else util-linux's. */
const scriptArguments = (command: string, record: string) =>
  process.platform === 'darwin' ? ['-q', record, 'sh', '-c', command] : ['-qefc', command, record]

function parseLines(text: string): unknown[] {
  const lines = text.split('\n').filter((line) => line.trim() !== '')
  return lines.map((line) => {
    try {
      return JSON.parse(line)
    } catch {
      return line
    }
  })
}

class Terminal {
  readonly #child: ChildProcess
  #screen = ''
  #prompts = 0

  constructor(child: ChildProcess) {
    this.#child = child
    for (const stream of [child.stdout, child.stderr])
      stream?.on('data', (data) => {
        this.#screen += data
      })
  }

  /** Types the text, then presses Enter. */
  type(text: string) {
    this.#child.stdin?.write(`${text.replaceAll('\n', '\r')}\r`)
  }

  /** Pastes the text, then presses Enter. */
  paste(text: string) {
    this.type(this.#screen.includes(ASKS_FOR_MARKS) ? `${PASTE_BEGINS}${text}${PASTE_ENDS}` : text)
  }

  async waitForPrompt() {
    this.#prompts = await this.waitFor(() => {
      const count = this.#screen.split(PROMPT).length - 1
      return count > this.#prompts ? count : undefined
    }, 'the prompt')
  }

  async waitFor<T>(read: () => T | undefined, what: string): Promise<T> {
    const end = Date.now() + BLOCK_TIMEOUT_MS
    while (Date.now() < end && this.#child.exitCode === null) {
      const value = read()
      if (value !== undefined) return value
      await sleep(20)
    }
    throw new Error(`The shell ended or waits for more after:\n${what}\n\nThe screen:\n${this.#screen}`)
  }

  refuseErrors() {
    if (/^((ba|z)sh|curl|sed|grep): /m.test(this.#screen.replaceAll('\r', '\n')))
      throw new Error(`The shell reported an error. The screen:\n${this.#screen}`)
  }
}
