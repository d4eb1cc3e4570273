/** Every evaluator decides the same experiment: two conditions and two equal variants, drawn by the user's id. */
export const LISTED_COUNTRIES = ['AT', 'BE', 'CH', 'DE', 'ES', 'FR', 'IT', 'NL']
const OTHER_COUNTRIES = ['GB', 'US']

export type BenchUser = { id: string; country_code: string; is_premium: boolean }
/** Decides for the user with this index. @returns the variant's name, or null for a user who is left out */
export type Decide = (user: number) => string | null

/** Makes users from ten countries in turn. Seven in eight are premium, and 70 % meet both conditions. */
export function makeUsers(count: number): BenchUser[] {
  const countries = [...LISTED_COUNTRIES, ...OTHER_COUNTRIES]
  return Array.from({ length: count }, (_, index) => ({
    id: `user_${index + 1}`,
    country_code: countries[index % countries.length] as string,
    is_premium: index % 8 !== 0,
  }))
}

export const isTargeted = (user: BenchUser) => LISTED_COUNTRIES.includes(user.country_code) && user.is_premium
