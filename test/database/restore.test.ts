import { execFileSync } from 'node:child_process'
import { expect, test } from 'vitest'
import { verifyTotals } from '../../server/totals/verify.ts'
import { onPrivateServices, openApp } from '../support/app.ts'
import { privatePostgres } from '../support/private-services.ts'
import { administer } from '../support/services.ts'

onPrivateServices('a database that is restored from a dump', () => {
  test('continues to fold, list and export events in a cluster with lower transaction ids', async () => {
    const [from, to] = [await privatePostgres(), await privatePostgres()]
    await administer(
      'do $$ begin for i in 1..20000 loop perform pg_current_xact_id(); commit; end loop; end $$',
      from.url,
    )
    const original = await openApp('postgres', { DATABASE_URL: from.url })
    const experiment = await original.api.makeExperiment()
    const buy = (user_id: string) => ({ user_id, experiment_id: experiment.id, type: 'conversion' })
    await original.api.variantOf('ada', experiment)
    await original.api.record(buy('ada'))
    await original.platform.reporting.totals.catchUp()
    await original.close()

    execFileSync('sh', ['-c', `pg_dump --no-owner ${from.url} | psql --quiet --set ON_ERROR_STOP=1 ${to.url}`], {
      stdio: ['ignore', 'ignore', 'inherit'],
    })
    // The first start moves the transaction ids; the second start finds nothing to move.
    for (const user of ['grace', 'edsger']) {
      const restored = await openApp('postgres', { DATABASE_URL: to.url })
      const { api, platform } = restored
      await api.variantOf(user, experiment)
      await api.record(buy(user))
      await platform.reporting.totals.catchUp()
      expect(await platform.reporting.totals.state()).toMatchObject({ tail: 0 })
      expect(await verifyTotals(platform.orm.em.fork())).toBeNull()
      const { variants } = await api.results(experiment)
      const users = variants.reduce((sum: number, row: { total_users: number }) => sum + row.total_users, 0)
      const answer = await fetch(`${api.url}/api/events/export?experiment_id=${experiment.id}`, {
        headers: { authorization: `Bearer ${api.token}` },
      })
      const exported = (await answer.text()).trim().split('\n')
      expect([users, exported.map((line) => JSON.parse(line).user_id)]).toEqual(
        user === 'grace' ? [2, ['ada', 'grace']] : [3, ['ada', 'grace', 'edsger']],
      )
      await restored.close()
    }
    from.remove()
    to.remove()
  }, 120_000)
})
