/** A line of an upload. Its number counts from 1; its bytes are null when the line is too long. */
type Line = { number: number; bytes: Buffer | null }

const NEWLINE = 0x0a
const CARRIAGE_RETURN = 0x0d

/**
 * Cuts an upload into lines while it arrives. Empty lines are counted but not returned. The bytes of a line that is too
 * long are never kept in memory.
 * @param maxBytes the largest length of a line
 */
export async function* linesOf(chunks: AsyncIterable<Buffer>, maxBytes: number): AsyncGenerator<Line> {
  let number = 0
  let chunksOfLine: Buffer[] = []
  let length = 0
  const take = (end: Buffer): Line | null => {
    number++
    const bytes = length + end.length > maxBytes ? null : Buffer.concat([...chunksOfLine, end])
    chunksOfLine = []
    length = 0
    if (bytes === null) return { number, bytes }
    const text = bytes.at(-1) === CARRIAGE_RETURN ? bytes.subarray(0, -1) : bytes
    return text.length === 0 ? null : { number, bytes: text }
  }
  for await (const chunk of chunks) {
    let start = 0
    for (let end = chunk.indexOf(NEWLINE); end >= 0; end = chunk.indexOf(NEWLINE, start)) {
      const line = take(chunk.subarray(start, end))
      start = end + 1
      if (line) yield line
    }
    const rest = chunk.subarray(start)
    length += rest.length
    if (length > maxBytes) chunksOfLine = []
    else if (rest.length > 0) chunksOfLine.push(rest)
  }
  if (length > 0) {
    const line = take(Buffer.alloc(0))
    if (line) yield line
  }
}
