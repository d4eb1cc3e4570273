/** Describes what is wrong with the URL of Redis, without showing any of it. @returns null if it can be used */
export function redisUrlFault(url: string): string | null {
  if (!/^rediss?:\/\//.test(url)) return 'must begin with redis:// or rediss://'
  const parts = partsOf(url)
  if (parts === null)
    return (
      'cannot be read: it must be like redis://:password@localhost:6379, with a port up to 65535, and with / ? # @ % ' +
      'in a password written as %2F %3F %23 %40 %25'
    )
  return /^\d*$/.test(parts.database)
    ? null
    : 'must end with the number of the database, such as redis://localhost:6379/0, or without one'
}

/** @returns null if the URL cannot be read */
function partsOf(url: string) {
  try {
    const { pathname, searchParams, password, hash } = new URL(url)
    // The driver decodes the password, too.
    decodeURIComponent(password)
    return hash === '' ? { database: pathname.slice(1) || (searchParams.get('db') ?? '') } : null
  } catch {
    return null
  }
}
