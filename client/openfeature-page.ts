type Page = {
  document?: { visibilityState: string } & Listening
} & Partial<Listening>
type Listening = {
  addEventListener: (type: string, listener: () => void) => void
  removeEventListener: (type: string, listener: () => void) => void
}

/** Where there is a page, listens for it to go out of sight, which may be its end. @returns what stops that */
export function onPageHidden(listener: () => void): () => void {
  const page = globalThis as unknown as Page
  const { document } = page
  if (!document?.addEventListener) return () => {}
  const onChange = () => {
    if (document.visibilityState === 'hidden') listener()
  }
  document.addEventListener('visibilitychange', onChange)
  page.addEventListener?.('pagehide', listener)
  return () => {
    document.removeEventListener('visibilitychange', onChange)
    page.removeEventListener?.('pagehide', listener)
  }
}
