import { setImmediate } from 'node:timers/promises'
import type { App } from '../app.ts'

/** Plays the requests of a story against a running platform, and makes their answers the same at every play. */

export type Request = { method: string; url: string; headers: Record<string, string>; body?: string | undefined }
/** A line of an import that says how far it is. How many there are depends on the machine. */
const PROGRESS = /^\{"line":.*\n/gm

export type Answer = { status: number; type: string; body: unknown }

/** Times in examples begin here; each request of the story comes a minute after the one before. */
const STORY_START = Date.parse('2026-01-05T09:00:00.000Z')
const STEP_MS = 60_000
const DAY_MS = 86_400_000
const KEY = /exp_[\w-]{43}/g
const MASKED_KEY = /exp_[\w-]+(?=…)/g
const STREAM_TOKEN = /\b\d+\.[0-9a-z]+\.[\w-]{43}/g
const TIME = /\b\d{4}-\d\d-\d\d(?:([T ])\d\d:\d\d(:\d\d(?:\.\d+)?)?(Z|\+00:00)?)?/g
/** Figures that depend on the machine or the moment, with what stands for them. */
const CONSTANTS: [RegExp, string][] = [
  // A transaction id begins a cursor. It depends on what the database did before.
  [/"cursor":"\d+-/g, '"cursor":"1000-'],
  // The last use of a key is stored within a minute.
  [/"last_used_at":"[^"]+"/g, '"last_used_at":null'],
  [/"lastModified":\d{10}/g, `"lastModified":${STORY_START / 1000}`],
  [/"milliseconds":\d+/g, '"milliseconds":12'],
  [/"days":0\.0\d+/g, '"days":0.025'],
  [/"digest":"[0-9a-f]{64}"/g, '"digest":"the SHA-256 of the statistics"'],
]

export type Player = { play: (request: Request) => Promise<Answer> }

/**
 * Makes a player for one platform, which must be new. In answers it replaces what differs from play to play: times by
 * times of the story, keys and tokens by placeholders. In requests it replaces placeholders by what they stand for.
 * @param url the address at which the platform listens
 */
export function createPlayer({ platform }: Pick<App, 'platform'>, url: string): Player {
  const begins: number[] = []
  const placeholders = new Map<string, string>()
  const laterTimes = new Map<number, number>()

  /**
   * Returns the time of the story that stands for a time of this play: that of the last request before it. A time that
   * lies ahead keeps its distance from the request that named it first. Times before the play have none.
   */
  function storyTime(time: number): number | null {
    const step = begins.findLastIndex((begin) => begin <= time)
    if (step < 0) return null
    if (time <= Date.now()) return STORY_START + step * STEP_MS
    const ahead = Math.floor((time - (begins[step] as number)) / STEP_MS)
    const known = laterTimes.get(time) ?? STORY_START + (step + ahead) * STEP_MS
    laterTimes.set(time, known)
    return known
  }

  function replaceTime(text: string, separator?: string, seconds?: string, zone?: string): string {
    if (separator === undefined) return text === today() ? isoDay(STORY_START) : text
    const time = Date.parse(seconds && zone ? text : `${text.replace(' ', 'T')}Z`)
    const known = seconds && zone && time % DAY_MS !== 0 ? storyTime(time) : roundedTime(time)
    if (known === null) return text
    const iso = new Date(known).toISOString().replace('T', separator)
    return zone === '+00:00' ? iso.replace('.000Z', zone) : iso.slice(0, text.length)
  }

  /** Returns the time of the story that stands for the beginning of today, or for a minute of today. */
  function roundedTime(time: number): number | null {
    if (isoDay(time) !== today()) return null
    return time % DAY_MS === 0 ? STORY_START - (STORY_START % DAY_MS) : STORY_START + (begins.length - 1) * STEP_MS
  }

  const today = () => isoDay(begins[0] as number)

  function placeholderOf(real: string, kind: string): string {
    const known = placeholders.get(real)
    if (known !== undefined) return known
    const number = [...placeholders.values()].filter((name) => name.startsWith(kind)).length + 1
    const placeholder = `${kind}${number}`
    placeholders.set(real, placeholder)
    return placeholder
  }
  const maskedPlaceholder = (prefix: string) =>
    [...placeholders].find(([real]) => real.startsWith(prefix))?.[1] ?? placeholderOf(prefix, 'exp_other_key_')

  const toStory = (text: string) =>
    CONSTANTS.reduce((replaced, [pattern, constant]) => replaced.replace(pattern, constant), text)
      .replace(KEY, (key) => placeholderOf(key, 'exp_example_key_'))
      .replace(MASKED_KEY, (prefix) => (prefix.startsWith('exp_example_key_') ? prefix : maskedPlaceholder(prefix)))
      .replace(STREAM_TOKEN, (token) => placeholderOf(token, '1.example.token_'))
      .replace(TIME, replaceTime)

  function toReal(text: string): string {
    let real = text
    for (const [value, placeholder] of placeholders) real = real.replaceAll(placeholder, value)
    return real
  }

  return {
    async play({ method, url: path, headers, body }) {
      begins.push(Date.now())
      const response = await fetch(`${url}${toReal(path)}`, {
        method,
        headers: Object.fromEntries(Object.entries(headers).map(([name, value]) => [name, toReal(value)])),
        ...(body === undefined ? {} : { body: toReal(body) }),
      })
      const type = withoutParameters(response.headers.get('content-type') ?? '')
      const read = await (type === 'text/event-stream' ? firstEvent(response) : response.text())
      await lookAtResults(platform)
      const text = toStory(read.replace(PROGRESS, ''))
      return { status: response.status, type, body: type === 'application/json' ? JSON.parse(text) : text }
    },
  }
}

/** Takes parameters such as the charset off a content type. */
export const withoutParameters = (type: string) => type.split(';')[0] as string

const isoDay = (time: number) => new Date(time).toISOString().slice(0, 10)

/** Reads a stream of server-sent events up to the end of the first event, and ends it. */
async function firstEvent(response: Response): Promise<string> {
  let text = ''
  const decoder = new TextDecoder()
  for await (const bytes of response.body ?? []) {
    text += decoder.decode(bytes, { stream: true })
    const end = /^data:.*\n\n/m.exec(text)
    if (end) return text.slice(0, end.index + end[0].length)
  }
  return text
}

/**
 * Folds what was recorded and looks at the results of all experiments, as the platform does by itself within ten
 * seconds. So each request finds what it would find if a person sent it.
 */
async function lookAtResults({ reporting, jobs: { alertMonitor } }: App['platform']) {
  await reporting.totals.catchUp()
  // This look begins the ten seconds anew, so that no other look falls into the next request.
  alertMonitor.runSoon()
  await setImmediate()
  await alertMonitor.runNow()
}
