import { z } from 'zod'
import { keyedProcedure, router } from '../trpc.ts'
import { message } from '../wire.ts'
import { deleteExperiment } from './deletion.ts'
import * as lifeCycle from './life-cycle.ts'
import { previewReach } from './reach.ts'
import * as wire from './schema.ts'
import * as experiments from './service.ts'
import { takeOverFrom } from './take-over.ts'
import * as undo from './undo.ts'
import * as variants from './variants.ts'

const tags = ['Experiments']
const manage = keyedProcedure('manage')
const read = keyedProcedure('read')

export const experimentsRouter = router({
  create: manage
    .meta({
      openapi: { method: 'POST', path: '/experiments', tags, summary: 'Create an experiment with a control at 100 %' },
    })
    .input(wire.createExperiment)
    .output(wire.experiment)
    .mutation(({ ctx, input }) => ctx.define((em) => experiments.createExperiment(em, input))),
  list: read
    .meta({ openapi: { method: 'GET', path: '/experiments', tags, summary: 'List experiments' }, list: true })
    .input(wire.listExperiments)
    .output(z.array(wire.experiment))
    .query(({ ctx, input }) => experiments.listExperiments(ctx.em, input)),
  get: read
    .meta({
      openapi: {
        method: 'GET',
        path: '/experiments/{experiment_id}',
        tags,
        summary: 'Get an experiment with its variants, segments and runs',
      },
    })
    .input(wire.experimentId)
    .output(wire.experimentDetail)
    .query(({ ctx, input }) => experiments.getExperiment(ctx.em, input.experiment_id)),
  uses: read
    .meta({
      openapi: {
        method: 'GET',
        path: '/experiments/{experiment_id}/uses',
        tags,
        summary: 'List the experiments and flags that depend on an experiment',
      },
    })
    .input(wire.experimentId)
    .output(wire.experimentUses)
    .query(({ ctx, input }) => experiments.usesOfExperiment(ctx.em, input.experiment_id)),
  update: manage
    .meta({ openapi: { method: 'PUT', path: '/experiments/{experiment_id}', tags, summary: 'Change an experiment' } })
    .input(wire.updateExperiment)
    .output(wire.experiment)
    .mutation(({ ctx, input }) => ctx.define((em) => experiments.updateExperiment(em, input))),
  delete: manage
    .meta({
      openapi: {
        method: 'DELETE',
        path: '/experiments/{experiment_id}',
        tags,
        summary: 'Delete a draft, or an archived experiment with all its records',
      },
    })
    .input(wire.deleteExperiment)
    .output(message)
    .mutation(async ({ ctx, input }) => {
      const deleted = await ctx.define((em) => deleteExperiment(em, input))
      ctx.platform.jobs.deletion.runSoon()
      return deleted
    }),
  addVariant: manage
    .meta({
      openapi: {
        method: 'POST',
        path: '/experiments/{experiment_id}/variants',
        tags,
        summary: 'Add a variant, or set the share of the unedited control',
      },
    })
    .input(wire.addVariant)
    .output(wire.variant)
    .mutation(({ ctx, input }) => ctx.define((em) => variants.addVariant(em, input))),
  updateVariant: manage
    .meta({
      openapi: {
        method: 'PUT',
        path: '/experiments/{experiment_id}/variants/{variant_id}',
        tags,
        summary: 'Change a variant',
      },
    })
    .input(wire.updateVariant)
    .output(wire.variant)
    .mutation(({ ctx, input }) => ctx.define((em) => variants.updateVariant(em, input))),
  setAllocation: manage
    .meta({
      openapi: {
        method: 'PUT',
        path: '/experiments/{experiment_id}/allocation',
        tags,
        summary: 'Change the shares of all variants in one step',
      },
    })
    .input(wire.setAllocation)
    .output(z.array(wire.variant))
    .mutation(({ ctx, input }) => ctx.define((em) => variants.setAllocation(em, input))),
  deleteVariant: manage
    .meta({
      openapi: {
        method: 'DELETE',
        path: '/experiments/{experiment_id}/variants/{variant_id}',
        tags,
        summary: 'Delete a variant that nobody was assigned to',
      },
    })
    .input(wire.variantId)
    .output(message)
    .mutation(({ ctx, input }) => ctx.define((em) => variants.deleteVariant(em, input))),
  start: manage
    .meta({ openapi: { method: 'POST', path: '/experiments/{experiment_id}/start', tags, summary: 'Start a draft' } })
    .input(wire.startExperiment)
    .output(wire.experiment)
    .mutation(({ ctx, input }) =>
      ctx.define((em) =>
        lifeCycle.startExperiment(em, input.experiment_id, takeOverFrom(input.started_at, ctx.platform.decideByStored)),
      ),
    ),
  pause: manage
    .meta({
      openapi: {
        method: 'POST',
        path: '/experiments/{experiment_id}/pause',
        tags,
        summary: 'Pause an experiment: enrolment stops, measurement goes on',
      },
    })
    .input(wire.experimentId)
    .output(wire.experiment)
    .mutation(({ ctx, input }) => ctx.define((em) => lifeCycle.pauseExperiment(em, input.experiment_id))),
  resume: manage
    .meta({
      openapi: {
        method: 'POST',
        path: '/experiments/{experiment_id}/resume',
        tags,
        summary: 'Resume a paused experiment',
      },
    })
    .input(wire.experimentId)
    .output(wire.experiment)
    .mutation(({ ctx, input }) => ctx.define((em) => lifeCycle.resumeExperiment(em, input.experiment_id))),
  complete: manage
    .meta({
      openapi: {
        method: 'POST',
        path: '/experiments/{experiment_id}/complete',
        tags,
        summary: 'Complete an experiment; optionally ship a variant to everybody',
      },
    })
    .input(wire.completeExperiment)
    .output(wire.experiment)
    .mutation(({ ctx, input }) => ctx.define((em) => lifeCycle.completeExperiment(em, input))),
  ship: manage
    .meta({
      openapi: {
        method: 'POST',
        path: '/experiments/{experiment_id}/ship',
        tags,
        summary: 'Ship a variant of a completed experiment to everybody, or none any more',
      },
    })
    .input(wire.shipVariant)
    .output(wire.experiment)
    .mutation(({ ctx, input }) => ctx.define((em) => undo.shipVariant(em, input))),
  reopen: manage
    .meta({
      openapi: {
        method: 'POST',
        path: '/experiments/{experiment_id}/reopen',
        tags,
        summary: 'Reopen an experiment that was completed by mistake: its run goes on',
      },
    })
    .input(wire.experimentId)
    .output(wire.experiment)
    .mutation(({ ctx, input }) =>
      ctx.define((em) => undo.reopenExperiment(em, input.experiment_id, ctx.platform.decideByStored)),
    ),
  archive: manage
    .meta({
      openapi: {
        method: 'POST',
        path: '/experiments/{experiment_id}/archive',
        tags,
        summary: 'Archive a completed experiment',
      },
    })
    .input(wire.experimentId)
    .output(wire.experiment)
    .mutation(({ ctx, input }) => ctx.define((em) => lifeCycle.archiveExperiment(em, input.experiment_id))),
  unarchive: manage
    .meta({
      openapi: {
        method: 'POST',
        path: '/experiments/{experiment_id}/unarchive',
        tags,
        summary: 'Take an experiment out of the archive: it is completed again',
      },
    })
    .input(wire.experimentId)
    .output(wire.experiment)
    .mutation(({ ctx, input }) => ctx.define((em) => undo.unarchiveExperiment(em, input.experiment_id))),
  newRun: manage
    .meta({
      openapi: {
        method: 'POST',
        path: '/experiments/{experiment_id}/runs',
        tags,
        summary: 'Begin a new run: users are randomised again, old results are kept',
      },
    })
    .input(wire.newRun)
    .output(wire.experiment)
    .mutation(({ ctx, input }) =>
      ctx.define((em) => lifeCycle.newRun(em, input, takeOverFrom(input.started_at, ctx.platform.decideByStored))),
    ),
  reach: read
    .meta({
      openapi: {
        method: 'POST',
        path: '/experiments/{experiment_id}/reach',
        tags,
        summary: 'Preview how many stored profiles an experiment would reach',
      },
    })
    .input(wire.experimentId)
    .output(wire.reach)
    .query(({ ctx, input }) => previewReach(ctx.em, ctx.platform.definitions.watch, input.experiment_id)),
})
