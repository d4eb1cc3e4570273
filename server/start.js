// Plain JavaScript that old versions of Node can read: says what to do instead of failing on the first type annotation.
const [major] = process.versions.node.split('.').map(Number)
if (major < 24) {
  console.error(
    `This platform needs Node 24 or later; this is Node ${process.versions.node}.\n` +
      'Run "npm ci && npm start" in the project folder: npm brings a Node 24 of its own along, unless optional\n' +
      'dependencies were left out (--omit=optional) or your operating system has none. Otherwise install Node 24.',
  )
  process.exit(1)
}
await import('./main.ts')
