/** Reads the URLs of databases: `postgres://…`, `pglite:DIR` (embedded) and `pglite:` (embedded, in memory). */

const SCHEME = /^(postgres(ql)?:\/\/|pglite:)/

/** Describes what is wrong with the URL of a database, without showing any of it. @returns null if it is complete */
export function urlFault(url: string): string | null {
  if (!SCHEME.test(url)) return 'must begin with postgres:// or be pglite:DIR or pglite: (in memory)'
  if (url.startsWith('pglite:')) return null
  try {
    if (postgresNames(url).database === '')
      return 'names no database: add the name after the host, such as postgres://localhost:5432/experiments'
    return null
  } catch {
    return (
      'cannot be read: it must be like postgres://user:password@localhost:5432/experiments, with a port up to 65535, ' +
      'and with / ? # @ % in a password written as %2F %3F %23 %40 %25'
    )
  }
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
