/**
 * The version of the rules by which answers are computed. A change that gives the same statistics another figure takes
 * the next number. A frozen answer keeps the version that computed it, and only this version must compute it again.
 */
export const ENGINE_VERSION = '0.2.4'
