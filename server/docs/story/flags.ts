import type { Step } from './step.ts'

/** Flags, evaluated over REST and by OFREP, and what operators do. */

export const flags: Step[] = [
  {
    operation: 'flags.create',
    title: 'Create a flag',
    body: {
      key: 'new-banner',
      type: 'boolean',
      default_value: false,
      rules: [
        { id: 'staff', condition: { staff: true }, value: true },
        { id: 'ramp', condition: { country_code: 'US' }, rollout: [{ percent: 20, value: true }] },
      ],
      owner: 'checkout team',
    },
  },
  {
    operation: 'flags.evaluate',
    title: 'Evaluate flags for a user',
    body: { user_id: 'ada', keys: ['new-banner', 'free-shipping'] },
  },
  {
    operation: 'flags.explain',
    title: 'Ask why a user gets a value',
    path: { key: 'new-banner' },
    body: { user_id: 'grace' },
  },
  {
    operation: 'flags.update',
    title: 'Raise the rollout to half of the users',
    path: { key: 'new-banner' },
    body: {
      version: 1,
      rules: [
        { id: 'staff', condition: { staff: true }, value: true },
        { id: 'ramp', condition: { country_code: 'US' }, rollout: [{ percent: 50, value: true }] },
      ],
    },
  },
  { operation: 'flags.list', title: 'List the flags of an owner', query: { owner: 'checkout team' } },
  { operation: 'flags.get', title: 'Get a flag', path: { key: 'new-banner' } },
  { operation: 'flags.history', title: 'List the versions of a flag', path: { key: 'new-banner' } },
  { operation: 'flags.uses', title: 'List what the rules name', path: { key: 'new-banner' } },
]

export const ofrep: Step[] = [
  {
    operation: 'ofrep.evaluateFlag',
    title: 'Evaluate one flag',
    path: { key: 'new-banner' },
    body: { context: { targetingKey: 'ada', country_code: 'US' } },
  },
  {
    operation: 'ofrep.evaluateFlags',
    title: 'Evaluate all flags, as a page does',
    body: { context: { targetingKey: 'ada', country_code: 'US' } },
  },
  {
    operation: 'ofrep.eventStream',
    title: 'Wait for changes by the link of the evaluation',
    query: { token: '1.example.token_1' },
  },
  { operation: 'flags.delete', title: 'Delete a flag', path: { key: 'new-banner' } },
]

export const operators: Step[] = [
  {
    operation: 'auth.createKey',
    title: 'Create a key that can only evaluate and track',
    body: { name: 'web page', scopes: ['evaluate', 'track'] },
  },
  { operation: 'auth.listKeys', title: 'List keys' },
  {
    operation: 'auth.updateKey',
    title: 'Let the first key read the audit log',
    path: { key_id: 1 },
    body: { scopes: ['manage', 'read', 'evaluate', 'track', 'admin'] },
  },
  {
    operation: 'auth.rotateKey',
    title: 'Replace a key within a day',
    path: { key_id: 2 },
    body: { grace_hours: 24 },
  },
  { operation: 'auth.deleteKey', title: 'Delete a key', path: { key_id: 2 } },
  { operation: 'users.delete', title: 'Erase a user', path: { user_id: 'grace' } },
  { operation: 'segments.delete', title: 'Delete a segment', path: { segment_id: 2 } },
  {
    operation: 'audit.list',
    title: 'List who changed the segments',
    query: { subject: 'segments', order: 'asc' },
  },
  { operation: 'version.get', title: 'Read the version' },
]
