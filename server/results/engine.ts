import packageJson from '../../package.json' with { type: 'json' }

/** The engine version that each answer carries. A frozen answer keeps the version that computed it. */
export const ENGINE_VERSION: string = packageJson.version
