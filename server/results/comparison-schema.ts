import { z } from 'zod'
import { id } from '../wire.ts'
import { figure, interval, variantName } from './part-schema.ts'

export const comparison = z
  .object({
    variant_id: id.meta({ description: 'Id of the treatment that is compared with the control' }),
    variant_name: variantName,
    status: z
      .enum(['ok', 'no_data', 'insufficient_data', 'zero_variance', 'zero_baseline', 'zero_denominator'])
      .meta({ description: 'ok, or why figures are missing; reason says it as a sentence' }),
    reason: z
      .string()
      .nullable()
      .meta({
        description: 'Why figures are missing, or what the comparison lacks to be read; null where nothing is missing',
        examples: ['too few events in treatment (3 seen; 1.2 expected if the variants do not differ, of 10 needed)'],
      }),
    gate: z
      .object({
        variant_id: id.meta({ description: 'The variant that lacks most' }),
        lacks: z.enum(['events', 'users']).meta({ description: 'What count counts' }),
        count: z.int().meta({ description: 'Users of the variant, or the events that are too few, rounded down' }),
        needed: z.int().meta({ description: 'The smallest count at which the comparison is read' }),
        events: z
          .object({
            of: z.enum(['events', 'non_events']).meta({
              description: 'events: users with a value other than 0; non_events: users without a conversion, the rarer',
            }),
            by: z.enum(['expected', 'observed']).meta({ description: 'The number that is too small' }),
            observed: z.int().meta({ description: 'Such users of the variant, rounded down' }),
            expected: z.number().meta({ description: 'Such users of the variant if the variants do not differ' }),
          })
          .nullable()
          .meta({ description: 'null where users lack, and in answers that older engines froze' }),
        blocks_fixed: z.boolean().meta({
          description:
            'True: p_value and bayesian are no evidence either. False for a rate without a covariate, whose p_value is exact in small samples; bayesian is evidence there once lacks is not events',
        }),
      })
      .nullable()
      .meta({
        description:
          'What the comparison lacks to be read at any time; null where nothing. Until then it is no evidence',
      }),
    levels: z
      .object({
        control: z.number().meta({ description: 'Level of the control, in the unit of the metric' }),
        treatment: z.number().meta({ description: 'Level of the treatment, in the unit of the metric' }),
      })
      .nullable()
      .meta({
        description:
          'Levels as compared, in the unit of the metric, where a covariate adjusts them or allocation periods weight them; else null',
      }),
    difference: figure.meta({ description: 'Treatment minus control, in the unit of the metric' }),
    standard_error: figure.meta({ description: 'Standard error of the difference, in the unit of the metric' }),
    interval: interval.nullable().meta({
      description: 'Confidence interval of the difference, in the unit of the metric; valid for one reading',
    }),
    p_value: figure.meta({
      description:
        'Two-sided p-value, a fraction, valid for one reading. Of a rate: the z-test, or the exact test if is_small_sample',
    }),
    is_small_sample: z
      .boolean()
      .meta({ description: 'An expected count of a rate is below 5: p_value is that of the exact test' }),
    p_value_adjusted: figure.meta({
      description:
        'p_value adjusted for all primary metrics by Holm, or for all secondary ones by Benjamini and Hochberg; null for guardrails',
    }),
    uplift: z
      .object({
        value: z.number().meta({ description: 'A fraction of the control level: 0.1 is 10 % more' }),
        interval: interval.nullable().meta({ description: 'Interval of value, in fractions; valid for one reading' }),
        method: z
          .enum(['fieller', 'mover', 'delta'])
          .meta({ description: 'Method of the interval; delta only in answers that versions before 0.2 froze' }),
        reason: z.string().nullable().meta({ description: 'Why there is no interval; null where there is one' }),
      })
      .nullable()
      .meta({ description: 'Difference relative to the control: 0.1 is 10 % more' }),
    always_valid: z
      .object({
        p_value: figure.meta({ description: 'Two-sided p-value, a fraction; null until gate is null' }),
        p_value_adjusted: figure.meta({ description: 'p_value, adjusted as p_value_adjusted of the comparison is' }),
        interval: interval.nullable().meta({ description: 'Interval of the difference, in the unit of the metric' }),
        uplift_interval: interval.nullable().meta({ description: 'Interval of the uplift: 0.1 is 10 % more' }),
        uplift_reason: z.string().nullable().meta({ description: 'Why uplift_interval is null, if it has no bounds' }),
        is_contradicted: z.boolean().meta({
          description:
            'True where the intervals of recorded looks have nothing in common: then interval is that of now',
        }),
        reason: z
          .string()
          .nullable()
          .meta({
            description: 'Why the figures are null, as reason of the comparison; null where they are not',
            examples: [
              'too few events in treatment (3 seen; 1.2 expected if the variants do not differ, of 10 needed)',
            ],
          }),
      })
      .nullable()
      .meta({
        description:
          'Valid however often results are read; its figures are null until gate is null. Answers that engines before 0.2.1 froze have null instead',
      }),
    bayesian: z
      .object({
        probability_better: z
          .number()
          .meta({ description: 'Posterior probability that the treatment is better, a fraction: 0.975 is 97.5 %' }),
        interval: interval.meta({ description: 'Credible interval of the difference, in the unit of the metric' }),
        expected_loss: z
          .number()
          .meta({ description: 'Expected loss of choosing the treatment, in the unit of the metric' }),
        expected_loss_control: z
          .number()
          .meta({ description: 'Expected loss of staying with the control, in the unit of the metric' }),
        posterior: z.enum(['normal', 'beta']).meta({
          description: 'beta: a rate has fewer than 10 conversions in a variant, and both rates have Beta posteriors',
        }),
        prior: z
          .object({
            mean: z.number().meta({ description: 'Mean, a fraction of the control level' }),
            sd: z.number().meta({ description: 'Standard deviation, a fraction of the control level' }),
          })
          .nullable()
          .meta({ description: 'The normal prior of the relative uplift that was used (0.1 is 10 %); null: flat' }),
      })
      .nullable()
      .meta({ description: 'The posterior of the difference; null where it is undefined' }),
    cuped: z
      .object({
        theta: z.number().meta({ description: 'Units of the metric for each unit of the value before exposure' }),
        variance_reduction: figure.meta({
          description: 'Share of the variance of the difference that values before exposure explain',
        }),
        unadjusted: z
          .object({
            difference: figure.meta({ description: 'Treatment minus control, in the unit of the metric' }),
            interval: interval.nullable().meta({ description: 'Interval of difference, in the unit of the metric' }),
          })
          .meta({ description: 'The difference without CUPED, in the unit of the metric, and its interval' }),
      })
      .nullable()
      .meta({ description: 'null: values before exposure do not adjust the comparison' }),
    balance: z
      .object({
        difference: z
          .number()
          .meta({ description: 'Treatment minus control before exposure, in the unit of the metric' }),
        p_value: z.number().meta({ description: 'Two-sided p-value, valid for one reading' }),
      })
      .nullable()
      .meta({ description: 'The same metric before exposure: variants should differ by chance only' }),
    guardrail: z
      .object({
        verdict: z.enum(['failed', 'passed', 'inconclusive']).meta({
          description:
            'passed: the treatment is worse by less than the margin, if at all; failed: it is significantly worse, and that is not shown',
        }),
        reason: z
          .string()
          .nullable()
          .meta({ description: 'Why the verdict is inconclusive, or what to know about it' }),
        is_non_inferior: z
          .boolean()
          .meta({ description: 'It is shown that the treatment is worse by less than the margin' }),
        p_value: figure.meta({ description: 'One-sided p-value of being worse by the margin or more, a fraction' }),
        bound: figure.meta({
          description: 'One-sided bound of the difference on its bad side, in the unit of the metric',
        }),
        harm: z
          .object({
            is_worse: z.boolean().meta({ description: 'True if the treatment is significantly worse' }),
            p_value: figure.meta({ description: 'The p-value of the test, a fraction' }),
          })
          .meta({ description: 'Test of being worse at all: two-sided, by the method of the analysis, not adjusted' }),
        has_no_events: z.boolean().meta({
          description:
            'No variant has an event, and the margin is relative: the guardrail does not hold back ship once the planned users are there',
        }),
      })
      .nullable()
      .meta({ description: 'Whether a guardrail is unharmed; null for other metrics' }),
    verdict: z.enum(['better', 'worse', 'contradictory', 'undecided']).meta({
      description:
        'What the method of the analysis says of a primary metric or guardrail; undecided for a secondary metric',
    }),
    decided_by: z
      .object({
        figure: z
          .enum(['p_value', 'always_valid.p_value', 'bayesian.probability_better'])
          .meta({ description: 'The figure of this comparison that decides' }),
        value: z.number().meta({ description: 'Its value, a fraction' }),
        threshold: z.number().meta({
          description: 'alpha divided among the comparisons of the family, and by the spending of planned looks',
        }),
      })
      .nullable()
      .meta({
        description:
          'The figure that decides and its threshold; null where the method may not be read, and where there is no p-value yet',
      }),
    look: z
      .object({
        at: z.iso.datetime().nullable().meta({ description: 'Time of the look; null where it is not recorded' }),
        users: z.int().meta({ description: 'Number of analysed users of all variants at the look' }),
        difference: figure.meta({ description: 'Treatment minus control at the look, in the unit of the metric' }),
        uplift: figure.meta({ description: 'Difference relative to the control at the look: 0.1 is 10 % more' }),
        interval: interval.nullable().meta({
          description: 'Interval of difference, in the unit of the metric, that covers at all looks together',
        }),
        uplift_interval: interval.nullable().meta({
          description: 'Interval of uplift, in fractions, that covers at all looks together',
        }),
        non_inferiority_p_value: figure.meta({
          description: 'p_value of guardrail at the look, a fraction; null for other metrics',
        }),
      })
      .nullable()
      .meta({
        description:
          'The planned look whose figures decide: the one that decided, else the last one; a Bayesian look has no intervals. null in a sequential analysis, before the first look, in a breakdown, and in answers that older engines froze',
      }),
    periods_used: z.int().meta({ description: 'Number of allocation periods within which users are compared' }),
    users_left_out: z
      .int()
      .meta({ description: 'Number of users of allocation periods in which a variant has fewer than two users' }),
  })
  .meta({ id: 'MetricComparison' })
