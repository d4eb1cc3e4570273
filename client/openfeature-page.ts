type Page = {
  document?: { visibilityState: string } & EventEmitter
} & Partial<EventEmitter>
type EventEmitter = {
  addEventListener: (type: string, listener: () => void) => void
  removeEventListener: (type: string, listener: () => void) => void
}

/**
 * Calls the listener when the page is hidden, which may be the last event of the page. Does nothing outside a browser.
 * @returns a function that stops listening
 */
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
