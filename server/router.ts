import { alertsRouter } from './alerts/router.ts'
import { assignmentsRouter } from './assignments/router.ts'
import { auditRouter } from './audit/router.ts'
import { authRouter } from './auth/router.ts'
import { eventsRouter } from './events/router.ts'
import { exclusionsRouter } from './exclusions/router.ts'
import { layersRouter } from './experiments/layer-router.ts'
import { experimentsRouter } from './experiments/router.ts'
import { flagsRouter } from './flags/router.ts'
import { metricsRouter } from './metrics/router.ts'
import { planningRouter } from './planning/router.ts'
import { resultsRouter } from './results/router.ts'
import { segmentsRouter } from './segments/router.ts'
import { router } from './trpc.ts'
import { usersRouter } from './users/router.ts'
import { versionRouter } from './version/router.ts'

export const appRouter = router({
  auth: authRouter,
  experiments: experimentsRouter,
  flags: flagsRouter,
  layers: layersRouter,
  segments: segmentsRouter,
  users: usersRouter,
  assignments: assignmentsRouter,
  events: eventsRouter,
  exclusions: exclusionsRouter,
  metrics: metricsRouter,
  results: resultsRouter,
  planning: planningRouter,
  alerts: alertsRouter,
  audit: auditRouter,
  version: versionRouter,
})

export type AppRouter = typeof appRouter
