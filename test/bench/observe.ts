import { Session } from 'node:inspector/promises'

/** Preloaded into every server of a bench: tells its CPU time, and profiles it, when the bench asks. */
export type Question = 'cpu' | 'profile' | 'profiled'

const session = new Session()

async function answer(question: Question): Promise<unknown> {
  if (question === 'cpu') {
    const { user, system } = process.cpuUsage()
    return user + system
  }
  if (question === 'profile') {
    session.connect()
    await session.post('Profiler.enable')
    await session.post('Profiler.setSamplingInterval', { interval: 250 })
    return session.post('Profiler.start')
  }
  return (await session.post('Profiler.stop')).profile
}

process.on('message', async (question: Question) => process.send?.({ answer: (await answer(question)) ?? null }))
process.on('disconnect', () => process.exit())
