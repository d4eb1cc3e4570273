import { normalSf } from './distributions.ts'
import { checkProportion, conversionRate, type Proportion } from './proportion.ts'

/** Rates and differences are shares of 1. Undefined figures are null. */
type TwoProportionZ = {
  rateControl: number | null
  rateTreatment: number | null
  difference: number | null
  relativeUplift: number | null
  z: number
  pValue: number
  pGreater: number | null
  pLess: number | null
  isSignificant: boolean
  status: 'ok' | 'no_data' | 'zero_variance' | 'zero_baseline'
}

/**
 * Tests whether two conversion rates differ, by the pooled two-proportion z-test. `pGreater` is the one-sided p-value
 * for "the treatment converts more", `pLess` for "the treatment converts less".
 *
 * If the test is undefined, z = 0 and p = 1: a variant has no users (`no_data`), or nobody or everybody converts in
 * both variants (`zero_variance`). If only the control converts nobody, the test is valid but the uplift is undefined
 * (`zero_baseline`).
 * @param significanceThreshold share of 1, such as 0.05; a p-value below the threshold is significant
 * @throws RangeError for impossible counts
 * @see Fleiss, Levin, Paik (2003), Statistical Methods for Rates and Proportions, chapter 3; docs/statistics.md, "Two
 *   conversion rates"
 */
export function twoProportionZ(
  control: Proportion,
  treatment: Proportion,
  significanceThreshold: number,
): TwoProportionZ {
  checkProportion(control)
  checkProportion(treatment)
  const rateControl = conversionRate(control)
  const rateTreatment = conversionRate(treatment)
  const undefinedTest = {
    rateControl,
    rateTreatment,
    z: 0,
    pValue: 1,
    pGreater: null,
    pLess: null,
    isSignificant: false,
  }
  if (rateControl === null || rateTreatment === null) {
    return { ...undefinedTest, difference: null, relativeUplift: null, status: 'no_data' }
  }

  const difference = rateTreatment - rateControl
  const relativeUplift = rateControl === 0 ? null : difference / rateControl
  const exposed = control.exposed + treatment.exposed
  const converted = control.converted + treatment.converted
  if (converted === 0 || converted === exposed) {
    return { ...undefinedTest, difference, relativeUplift, status: 'zero_variance' }
  }

  const pooledVariance = (converted / exposed) * ((exposed - converted) / exposed)
  const z = difference / Math.sqrt(pooledVariance * (1 / control.exposed + 1 / treatment.exposed))
  const pValue = 2 * normalSf(Math.abs(z))
  return {
    rateControl,
    rateTreatment,
    difference,
    relativeUplift,
    z,
    pValue,
    pGreater: normalSf(z),
    pLess: normalSf(-z),
    isSignificant: pValue < significanceThreshold,
    status: rateControl === 0 ? 'zero_baseline' : 'ok',
  }
}
