import type { Step } from './step.ts'

/** Users, segments and layers, and an experiment for some users that a metric decides. */

export const users: Step[] = [
  {
    operation: 'users.create',
    title: 'Create a user',
    body: {
      id: 'ada',
      first_name: 'Ada',
      last_name: 'Lovelace',
      email: 'ada@example.com',
      is_premium: true,
      country_code: 'GB',
      attributes: { plan: 'gold' },
    },
  },
  {
    operation: 'users.create',
    title: 'Create another user',
    body: { id: 'grace', first_name: 'Grace', last_name: 'Hopper', email: 'grace@example.com', country_code: 'US' },
  },
  { operation: 'users.list', title: 'Find a user by e-mail', query: { email: 'ada@example.com' } },
  { operation: 'users.get', title: 'Get a user', path: { user_id: 'ada' } },
  {
    operation: 'users.update',
    title: 'Change one attribute and the country',
    path: { user_id: 'ada' },
    body: { country_code: 'US', attributes: { plan: 'gold', staff: true } },
  },
  { operation: 'users.alias', title: 'Join a device to a user', body: { alias_id: 'device-7', user_id: 'ada' } },
  { operation: 'users.aliases', title: 'List the ids of a user', path: { user_id: 'ada' } },
  { operation: 'users.undoAlias', title: 'Take the join back', path: { alias_id: 'device-7' } },
]

export const segments: Step[] = [
  {
    operation: 'segments.create',
    title: 'Create a segment by rules',
    body: { name: 'US premium', rules: { country_code: 'US', is_premium: true } },
  },
  {
    operation: 'segments.create',
    title: 'Create a segment for a list',
    body: { name: 'Testers', description: 'Members are added by hand' },
  },
  { operation: 'segments.list', title: 'List segments', query: { q: 'premium' } },
  { operation: 'segments.get', title: 'Get a segment', path: { segment_id: 1 } },
  {
    operation: 'segments.update',
    title: 'Change the rules of a segment',
    path: { segment_id: 1 },
    body: { rules: { country_code: { $in: ['US', 'CA'] }, is_premium: true } },
  },
  {
    operation: 'segments.preview',
    title: 'Count the users that rules select',
    body: { rules: { country_code: 'US' } },
  },
  { operation: 'segments.assignUser', title: 'Add a member', body: { user_id: 'grace', segment_id: 2 } },
  {
    operation: 'segments.changeMembers',
    title: 'Add and remove members',
    path: { segment_id: 2 },
    body: { add: ['ada', 'user_001'], remove: ['user_002'] },
  },
  { operation: 'segments.listMembers', title: 'List members', path: { segment_id: 2 } },
  { operation: 'segments.unassignUser', title: 'Remove a member', body: { user_id: 'grace', segment_id: 2 } },
]

export const metrics: Step[] = [
  {
    operation: 'metrics.create',
    title: 'Define revenue per user',
    body: {
      name: 'Revenue per user',
      definition: { type: 'sum', event_type: 'conversion', property: 'value', window_hours: 168, cap: 0.99 },
    },
  },
  {
    operation: 'metrics.create',
    title: 'Define the rate of users who ask for a refund',
    body: {
      name: 'Refund rate',
      definition: { type: 'proportion', event_type: 'refund', direction: 'decrease' },
    },
  },
  {
    operation: 'metrics.update',
    title: 'Change a metric that is not in use',
    path: { metric_id: 2 },
    body: {
      definition: { type: 'proportion', event_type: 'refund', direction: 'decrease', window_hours: 336 },
    },
  },
  { operation: 'metrics.list', title: 'List metrics by a part of the name', query: { name: 'revenue' } },
  { operation: 'metrics.get', title: 'Read a metric by its key', path: { metric_id: 'revenue-per-user' } },
  { operation: 'metrics.versions', title: 'List the versions of a metric', path: { metric_id: 2 } },
  { operation: 'metrics.delete', title: 'Delete a metric that nothing uses', path: { metric_id: 2 } },
]

export const targeting: Step[] = [
  {
    operation: 'experiments.create',
    title: 'Create an experiment for some users only',
    body: { name: 'Free shipping', condition: { country_code: { $in: ['US', 'CA'] } }, traffic_percent: 80 },
  },
  {
    operation: 'experiments.addVariant',
    title: 'Give its control half of the traffic',
    path: { experiment_id: 2 },
    body: { name: 'control', percent_allocated: 50 },
  },
  {
    operation: 'experiments.addVariant',
    title: 'Add its treatment',
    path: { experiment_id: 2 },
    body: { name: 'free', percent_allocated: 50 },
  },
  {
    operation: 'metrics.setOfExperiment',
    title: 'Let a metric decide an experiment',
    path: { experiment_id: 2 },
    body: { metrics: [{ metric_id: 1, role: 'primary' }] },
  },
  { operation: 'metrics.ofExperiment', title: 'List the metrics of an experiment', path: { experiment_id: 2 } },
  { operation: 'planning.checklist', title: 'Check an experiment before its start', path: { experiment_id: 2 } },
  {
    operation: 'segments.assignExperiment',
    title: 'Target it at a segment',
    body: { experiment_id: 2, segment_id: 1 },
  },
  { operation: 'segments.uses', title: 'List what uses the segment', path: { segment_id: 1 } },
  { operation: 'experiments.reach', title: 'Count the profiles that it reaches', path: { experiment_id: 2 } },
  {
    operation: 'assignments.get',
    title: 'Decide the variant of one user',
    path: { experiment_id: 2, user_id: 'ada' },
  },
  {
    operation: 'assignments.explain',
    title: 'Ask why a user is left out',
    path: { experiment_id: 2 },
    body: { user_id: 'grace' },
  },
  {
    operation: 'assignments.setOverride',
    title: 'Give a tester the treatment',
    path: { experiment_id: 2, user_id: 'grace' },
    body: { variant_id: 4 },
  },
  { operation: 'assignments.listOverrides', title: 'List overrides', path: { experiment_id: 2 } },
  {
    operation: 'assignments.removeOverride',
    title: 'Remove the override',
    path: { experiment_id: 2, user_id: 'grace' },
  },
  {
    operation: 'assignments.export',
    title: 'Export who was assigned when',
    path: { experiment_id: 2 },
    query: { format: 'csv' },
  },
  {
    operation: 'segments.unassignExperiment',
    title: 'Remove the segment from the experiment',
    body: { experiment_id: 2, segment_id: 1 },
  },
]

export const layers: Step[] = [
  { operation: 'layers.create', title: 'Create a layer', body: { name: 'Checkout' } },
  {
    operation: 'experiments.create',
    title: 'Create an experiment for a layer',
    body: { name: 'Express checkout' },
  },
  {
    operation: 'layers.setShare',
    title: 'Give an experiment half of the layer',
    path: { layer_id: 1, experiment_id: 3 },
    body: { percent: 50 },
  },
  { operation: 'layers.list', title: 'List layers' },
  { operation: 'layers.get', title: 'Get a layer', path: { layer_id: 'checkout' } },
  {
    operation: 'layers.update',
    title: 'Describe a layer',
    path: { layer_id: 1 },
    body: { description: 'Experiments on the checkout share no user' },
  },
  { operation: 'experiments.uses', title: 'List what depends on an experiment', path: { experiment_id: 3 } },
  {
    operation: 'layers.leave',
    title: 'Take the experiment out of the layer',
    path: { layer_id: 1, experiment_id: 3 },
  },
  { operation: 'layers.delete', title: 'Delete the layer', path: { layer_id: 1 } },
  {
    operation: 'experiments.addVariant',
    title: 'Add a variant by mistake',
    path: { experiment_id: 3 },
    body: { name: 'express', percent_allocated: 0 },
  },
  {
    operation: 'experiments.deleteVariant',
    title: 'Delete the variant',
    path: { experiment_id: 3, variant_id: 6 },
  },
  {
    operation: 'experiments.delete',
    title: 'Delete the draft',
    path: { experiment_id: 3 },
    body: { confirm: 'express-checkout' },
  },
]
