// This file is plain JavaScript, so that old versions of Node print this message instead of a syntax error.
const [major] = process.versions.node.split('.').map(Number)
if (major < 24) {
  console.error(
    `This platform needs Node 24 or later; this is Node ${process.versions.node}.\n` +
      'Run "npm ci && npm start" in the project folder: npm installs a Node 24 of its own, unless optional\n' +
      'dependencies were left out (--omit=optional) or no build exists for your system. Then install Node 24.',
  )
  process.exit(1)
}
await import('./main.ts')
