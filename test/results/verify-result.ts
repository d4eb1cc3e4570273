import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

/** Runs the command of `npm run verify:result` on a file with this content. @returns exit status and printed output */
export function verifyResult(content: unknown): { status: number | null; output: string } {
  const folder = mkdtempSync(join(tmpdir(), 'frozen-'))
  try {
    const file = join(folder, 'result.json')
    writeFileSync(file, typeof content === 'string' ? content : JSON.stringify(content))
    const { status, stdout, stderr } = spawnSync(process.execPath, ['server/commands/verify-result.ts', file], {
      encoding: 'utf8',
    })
    return { status, output: `${stdout}${stderr}` }
  } finally {
    rmSync(folder, { recursive: true })
  }
}
