import { effectPosterior } from '../../../server/statistics/bayesian-effect.ts'
import { type RatePosterior, ratePosteriors } from '../../../server/statistics/beta-binomial.ts'
import { thompsonAllocation, topTwoAllocation } from '../../../server/statistics/reference/bandit.ts'
import { probabilityBestBeta, probabilityBestNormal } from '../../../server/statistics/reference/probability-best.ts'
import { bounds, type Counts, proportion } from './shapes.ts'

type Normals = { means: number[]; sds: number[] }
const normals = ({ means, sds }: Normals) => means.map((mean, index) => ({ mean, sd: sds[index] as number }))
const posterior = ({ mean, interval }: RatePosterior) => ({ mean, ...bounds(interval) })

export const bayesian = {
  bayes_normal(input: {
    effect: number
    se: number
    prior_mean: number
    prior_variance: number
    proper: boolean
    alpha: number
  }) {
    const prior = input.proper ? { mean: input.prior_mean, variance: input.prior_variance } : null
    const result = effectPosterior(input.effect, input.se, prior, 1 - input.alpha)
    return {
      posterior_mean: result.mean,
      posterior_sd: result.sd,
      probability_better: result.probabilityBetter,
      ci: bounds(result.interval),
      expected_loss_treatment: result.expectedLossTreatment,
      expected_loss_control: result.expectedLossControl,
    }
  },

  bayes_beta_binomial(input: {
    control: Counts
    treatment: Counts
    prior_alpha: number
    prior_beta: number
    alpha: number
  }) {
    const prior = { a: input.prior_alpha, b: input.prior_beta }
    const result = ratePosteriors(proportion(input.control), proportion(input.treatment), 1 - input.alpha, prior)
    return {
      posterior_control: posterior(result.control),
      posterior_treatment: posterior(result.treatment),
      probability_treatment_better: result.probabilityTreatmentBetter,
      expected_difference: result.expectedDifference,
      expected_loss_treatment: result.expectedLossTreatment,
      expected_loss_control: result.expectedLossControl,
    }
  },

  probability_best(
    input: ({ posterior: 'normal' } & Normals) | { posterior: 'beta'; alphas: number[]; betas: number[] },
  ) {
    return {
      probability_best:
        input.posterior === 'normal'
          ? probabilityBestNormal(normals(input))
          : probabilityBestBeta(input.alphas.map((a, index) => ({ a, b: input.betas[index] as number }))),
    }
  },

  bandit_allocation(input: Normals & { floor: number }) {
    const posteriors = normals(input)
    return {
      probability_best: probabilityBestNormal(posteriors),
      thompson: thompsonAllocation(posteriors, input.floor),
      top_two: topTwoAllocation(posteriors, input.floor),
    }
  },
}
