/** A reason why the platform cannot start, in one sentence that says what to do. It is printed without a stack. */
export class StartFault extends Error {}

/**
 * Describes why the platform cannot listen.
 * @returns a sentence; null for any other error
 */
export function listenFault(error: unknown, host: string, port: number): string | null {
  const { code, syscall, hostname } = error as NodeJS.ErrnoException & { hostname?: string }
  const isOfHost = syscall === 'getaddrinfo' && hostname === host
  if (syscall !== 'listen' && !isOfHost && code !== 'EADDRINUSE') return null
  if (code === 'EADDRINUSE')
    return `Port ${port} on ${host} is taken by another program: stop that program, or set PORT to a free port`
  if (code === 'EACCES') return `Port ${port} needs more rights than this process has: set PORT to one from 1024 on`
  if (code === 'EADDRNOTAVAIL' || code === 'ENOTFOUND')
    return `HOST is ${host}, which is no address of this machine: set HOST to 127.0.0.1, or to 0.0.0.0 for all addresses`
  return null
}
