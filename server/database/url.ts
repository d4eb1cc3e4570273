import { parse, toClientConfig } from 'pg-connection-string'
import { unknownName } from '../evaluation/unknown-name.ts'

/** Reads the URLs of databases: `postgres://…`, `pglite:DIR` (embedded) and `pglite:` (embedded, in memory). */

const SCHEME = /^(postgres(ql)?:\/\/|pglite:)/

const UNREADABLE =
  'cannot be read: it must be like postgres://user:password@localhost:5432/experiments, with a port up to 65535, ' +
  'and with / ? # @ % in a password written as %2F %3F %23 %40 %25'

/** Describes what is wrong with the URL of a database, without showing any of it. @returns null if it is complete */
export function urlFault(url: string): string | null {
  if (!SCHEME.test(url)) return 'must begin with postgres:// or be pglite:DIR or pglite: (in memory)'
  if (url.startsWith('pglite:')) return null
  // All that follows a # would be ignored: the host, if it is part of the password.
  if (url.includes('#')) return UNREADABLE
  try {
    if (postgresNames(url).database === '')
      return 'names no database: add the name after the host, such as postgres://localhost:5432/experiments'
    return optionFault(new URL(url).searchParams) ?? fileFault(url)
  } catch {
    return UNREADABLE
  }
}

/** The options of a URL that have an effect, as libpq names them. */
const OPTIONS = [
  'host',
  'sslmode',
  'sslrootcert',
  'sslcert',
  'sslkey',
  'sslnegotiation',
  'channel_binding',
  'application_name',
  'options',
]
/** `allow` and `prefer` would leave it to the server whether the connection is encrypted. */
const SSL_MODES = ['disable', 'require', 'verify-ca', 'verify-full']

/** An option without an effect is refused: whoever wrote it relies on it. */
function optionFault(options: URLSearchParams): string | null {
  for (const [name, value] of options) {
    if (!OPTIONS.includes(name)) return `has the ${unknownName('option', name, OPTIONS)}`
    if (name === 'sslmode' && !SSL_MODES.includes(value))
      return `has the sslmode ${value}: give one of ${SSL_MODES.join(', ')}`
  }
  if (options.get('sslmode') === 'verify-ca' && !options.has('sslrootcert'))
    return 'has the sslmode verify-ca, which needs the file of the CA in sslrootcert; verify-full needs none'
  return null
}

function fileFault(url: string): string | null {
  try {
    driverOptions(url)
    return null
  } catch (error) {
    const { path } = error as { path?: string }
    if (path === undefined) throw error
    return `names the file ${path}, which cannot be read`
  }
}

/**
 * Reads the options of a URL of PostgreSQL, with the meaning that libpq gives them, for the driver.
 * @throws Error if a file that it names cannot be read
 */
export function driverOptions(url: string) {
  const { host, ssl, sslnegotiation, application_name, options } = toClientConfig(parse(url, { useLibpqCompat: true }))
  const enableChannelBinding = ['prefer', 'require'].includes(new URL(url).searchParams.get('channel_binding') ?? '')
  const given = { host, ssl, sslnegotiation, application_name, options, enableChannelBinding }
  return Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined && value !== ''))
}

/** Reads the parts of a URL of PostgreSQL that messages may show: never the password. @throws Error for a bad URL */
export function postgresNames(url: string) {
  const { host, pathname, username, password, searchParams } = new URL(url)
  // The driver decodes the password, too.
  decodeURIComponent(password)
  return {
    where: host || searchParams.get('host') || 'localhost',
    database: decodeURIComponent(pathname.slice(1)),
    user: decodeURIComponent(username),
  }
}

/** Names a database for messages, without a password. @throws Error for a bad URL */
export function shownUrl(url: string): string {
  if (url.startsWith('pglite:')) return url
  const { where, database } = postgresNames(url)
  return `postgres://${where}/${database}`
}
