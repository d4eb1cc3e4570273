import { z } from 'zod'

export const alertKind = z.enum(['mismatch', 'harm', 'significance']).meta({
  description:
    'mismatch: the variants have not the users that they should; harm: a guardrail or primary metric is significantly worse; significance: a primary metric is significantly better',
})
export type AlertKind = z.output<typeof alertKind>
