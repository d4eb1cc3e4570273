import fc from 'fast-check'

/** Draws any valid counts of one variant. Edge cases (no user, one user, none or all convert) are drawn often. */
export function anyProportion({ minExposed = 0, maxExposed = 1e9 } = {}) {
  return fc
    .oneof(
      fc.integer({ min: minExposed, max: Math.min(maxExposed, minExposed + 30) }),
      fc.integer({ min: minExposed, max: maxExposed }),
    )
    .chain((exposed) =>
      fc.record({
        exposed: fc.constant(exposed),
        converted: fc.oneof(fc.constantFrom(0, exposed), fc.integer({ min: 0, max: exposed })),
      }),
    )
}

export const impossibleProportions = [
  { exposed: 10, converted: 11 },
  { exposed: 10, converted: -1 },
  { exposed: -1, converted: 0 },
  { exposed: 10, converted: 0.5 },
  { exposed: 10.5, converted: 1 },
  { exposed: Number.NaN, converted: 0 },
  { exposed: 10, converted: Number.NaN },
  { exposed: Infinity, converted: 1 },
]
