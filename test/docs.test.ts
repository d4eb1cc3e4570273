import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { openApp } from './support/app.ts'
import { pasteInto } from './support/terminal.ts'
const read = (f: string) => readFileSync(new URL('../'+f, import.meta.url), 'utf8')
const readme = read('README.md')
const sh = (t: string) => [...t.matchAll(/```sh\n([\s\S]*?)```/g)].map(([, b]) => b!)
const pages=(process.env.PAGES??'deciding').split(',')
for (const page of pages)
for (const shell of ['bash','zsh'] as const) test(shell+page, async () => {
  const app = await openApp('postgres')
  const five = sh(/## Five minutes[\s\S]*?\n## /.exec(readme)![0])
  const blocks = [...five, ...sh(read(`docs/${page}.md`))].map(b=>b.replaceAll('http://127.0.0.1:8000', app.url))
  try { const a= await pasteInto(shell, blocks); if (shell==='bash') a.slice(five.length).forEach((x,i)=>console.log(blocks[i+five.length], x.map(y=>JSON.stringify(y).slice(0,+(process.env.W??250))).join('\n'))) } catch (e) { console.log(String(e).slice(-5000)) }
  await app.close()
}, 100000)
