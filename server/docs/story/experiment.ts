import type { Step } from './step.ts'

/** A whole experiment: from the first key to a frozen result, and a new run. */

const userId = (number: number) => `user_${String(number).padStart(3, '0')}`

/**
 * The events of an application that decides itself. It showed the treatment to half of 200 users, who bought more
 * often. The exposure of each user goes before what the user did.
 */
const uploaded = Array.from({ length: 200 }, (_, index) => index + 2).flatMap((number) => {
  const isTreated = number % 2 === 0
  const hasBought = isTreated ? number % 4 === 0 : number % 8 === 1
  const user = { user_id: userId(number), experiment_id: 1, variant_id: isTreated ? 2 : 1 }
  const exposure = { ...user, type: '$exposure', attributes: { country_code: number % 3 ? 'US' : 'CA' } }
  const value = 20 + (number % 7)
  const order = { ...user, type: 'conversion', event_id: `order-${number}`, properties: { value }, attributes: {} }
  return hasBought ? [exposure, order] : [exposure]
})

export const first: Step[] = [
  { operation: 'auth.createKey', title: 'Create the first key', body: { name: 'my_api_key' } },
  {
    operation: 'experiments.create',
    title: 'Create an experiment',
    body: { name: 'New checkout', hypothesis: 'A checkout on one page sells more', owner: 'checkout team' },
  },
  {
    operation: 'experiments.addVariant',
    title: 'Give the control half of the traffic',
    path: { experiment_id: 1 },
    body: { name: 'control', percent_allocated: 50 },
  },
  {
    operation: 'experiments.addVariant',
    title: 'Add a treatment',
    path: { experiment_id: 1 },
    body: { name: 'one-page', percent_allocated: 50, payload: { pages: 1 } },
  },
  { operation: 'experiments.start', title: 'Start the experiment', path: { experiment_id: 1 } },
  {
    operation: 'assignments.checkEligibility',
    title: 'Ask which variant a user sees',
    body: { user_id: 'user_001', experiment_ids: [1], attributes: { country_code: 'US' } },
  },
  {
    operation: 'events.record',
    title: 'Record what the user did',
    body: { user_id: 'user_001', experiment_id: 1, type: 'conversion', properties: { value: 99.99 } },
  },
  {
    operation: 'events.import',
    title: 'Upload the events of users whose variant the application chose itself',
    body: uploaded,
  },
  {
    operation: 'results.get',
    title: 'Read the results',
    path: { experiment_id: 1 },
    body: { conversion_event_type: 'conversion', confidence_level: 0.95 },
  },
]

export const events: Step[] = [
  {
    operation: 'events.recordBatch',
    title: 'Record several events: one is new, one is a repeat, one names an unknown user',
    body: {
      events: [
        { user_id: 'user_001', experiment_id: 1, type: 'page_view', event_id: 'view-1' },
        { user_id: 'user_004', experiment_id: 1, type: 'conversion', event_id: 'order-4' },
        { user_id: 'nobody', experiment_id: 1, type: 'page_view', event_id: 'view-1' },
      ],
    },
  },
  {
    operation: 'events.list',
    title: 'List conversions, two at a time',
    path: { experiment_id: 1 },
    body: { event_types: ['conversion'], limit: 2 },
  },
  {
    operation: 'events.list.query',
    title: 'List the events of one user',
    path: { experiment_id: 1 },
    query: { user_ids: ['user_004'] },
  },
  {
    operation: 'events.series',
    title: 'Count events per day',
    path: { experiment_id: 1 },
    query: { interval: 'day' },
  },
  {
    operation: 'events.export',
    title: 'Export the events of one user',
    query: { format: 'ndjson', user_ids: ['user_004'] },
  },
]

export const results: Step[] = [
  {
    operation: 'results.get.query',
    title: 'Read the results as a report to paste',
    path: { experiment_id: 1 },
    query: { format: 'markdown' },
  },
  {
    operation: 'results.get',
    title: 'Read the results by country',
    path: { experiment_id: 1 },
    body: { dimension: 'country_code' },
  },
  {
    operation: 'results.series',
    title: 'Read the rate of an event type day by day',
    path: { experiment_id: 1 },
    body: { event_type: 'conversion' },
  },
  {
    operation: 'results.series.query',
    title: 'Read the rate with wider intervals',
    path: { experiment_id: 1 },
    query: { event_type: 'conversion', confidence_level: 0.99 },
  },
  {
    operation: 'exclusions.add',
    title: 'Leave testers out of the results',
    path: { experiment_id: 1 },
    body: { user_ids: ['user_002', 'user_003'], note: 'Testers of our own' },
  },
  { operation: 'exclusions.list', title: 'List who is left out', path: { experiment_id: 1 } },
  {
    operation: 'exclusions.remove',
    title: 'Count a user again',
    path: { experiment_id: 1 },
    body: { user_ids: ['user_003'] },
  },
  { operation: 'alerts.list', title: 'List alerts of an experiment', query: { experiment_id: 1 } },
]

export const planning: Step[] = [
  {
    operation: 'planning.sampleSize',
    title: 'Compute the users that an effect needs',
    body: {
      metric: { type: 'proportion', rate: 0.1 },
      relative_effect: 0.1,
      method: 'group_sequential',
      daily_users: 2000,
    },
  },
  {
    operation: 'planning.power',
    title: 'Compute the power of given numbers of users',
    body: { metric: { type: 'proportion', rate: 0.1 }, users: [7000, 7000], relative_effect: 0.1 },
  },
]

export const lifeCycle: Step[] = [
  { operation: 'experiments.list', title: 'List running experiments', query: { status: ['running'] } },
  { operation: 'experiments.get', title: 'Get an experiment by its key', path: { experiment_id: 'new-checkout' } },
  {
    operation: 'experiments.update',
    title: 'Describe an experiment and tag it',
    path: { experiment_id: 1 },
    body: { description: 'Replaces three pages by one', tags: ['web'] },
  },
  {
    operation: 'experiments.setAllocation',
    title: 'Change the shares of all variants',
    path: { experiment_id: 1 },
    body: { control: 40, 'one-page': 60 },
  },
  {
    operation: 'experiments.updateVariant',
    title: 'Change the payload of a variant',
    path: { experiment_id: 1, variant_id: 2 },
    body: { payload: { pages: 1, progress_bar: true } },
  },
  { operation: 'experiments.pause', title: 'Stop new assignments', path: { experiment_id: 1 } },
  { operation: 'experiments.resume', title: 'Let assignments go on', path: { experiment_id: 1 } },
  {
    operation: 'experiments.complete',
    title: 'Complete the experiment and ship the treatment',
    path: { experiment_id: 1 },
    body: { shipped_variant_id: 2 },
  },
  { operation: 'experiments.reopen', title: 'Take back the completion', path: { experiment_id: 1 } },
  {
    operation: 'experiments.complete',
    title: 'Complete the experiment and ship nothing',
    path: { experiment_id: 1 },
  },
  {
    operation: 'experiments.ship',
    title: 'Ship the treatment after all',
    path: { experiment_id: 1 },
    body: { shipped_variant_id: 2 },
  },
  { operation: 'results.freeze', title: 'Freeze the results', path: { experiment_id: 1 } },
  { operation: 'results.frozen', title: 'Export the frozen answer', path: { experiment_id: 1 } },
  {
    operation: 'results.frozen.query',
    title: 'Export the frozen answer of a run',
    path: { experiment_id: 1 },
    query: { run: 1 },
  },
  { operation: 'experiments.archive', title: 'Put the experiment away', path: { experiment_id: 1 } },
  { operation: 'experiments.unarchive', title: 'Take it out of the archive', path: { experiment_id: 1 } },
  {
    operation: 'experiments.newRun',
    title: 'Begin again with a new randomisation',
    path: { experiment_id: 1 },
  },
]
