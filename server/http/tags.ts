/** The groups of operations in the OpenAPI document, in the order in which a reader meets them. */
export const TAGS = [
  {
    name: 'API keys',
    description: 'Create a key first: every other call needs one, and may do what its scopes allow.',
  },
  {
    name: 'Experiments',
    description: 'Define experiments and their variants, and lead them from draft to archive.',
  },
  { name: 'Assignments', description: 'Ask which variant a user sees, find out why, and force a variant for testing.' },
  {
    name: 'Events',
    description: 'Record what users do: one event, a batch or an upload. List, count and export events.',
  },
  { name: 'Results', description: 'Read what an experiment did, day by day too, and freeze what was decided on.' },
  { name: 'Metrics', description: 'Define once what counts as success, and attach it to experiments.' },
  { name: 'Planning', description: 'Compute the users and days that an experiment needs, before its start.' },
  { name: 'Alerts', description: 'Read what the platform found while experiments ran.' },
  { name: 'Users', description: 'Store profiles that targeting reads, and join the ids of one person.' },
  { name: 'Segments', description: 'Select users by rules or by lists, for experiments and flags.' },
  { name: 'Layers', description: 'Keep experiments apart: those of one layer share no user.' },
  { name: 'Flags', description: 'Release features by rules and rollouts, and evaluate flags over REST.' },
  { name: 'OFREP', description: "Evaluate flags by OpenFeature's protocol, as its SDKs do in every language." },
  { name: 'Audit', description: 'Read who changed which definition.' },
  { name: 'Version', description: 'Read which version runs.' },
]
