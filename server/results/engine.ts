import packageJson from '../../package.json' with { type: 'json' }

/** The version that answers are stamped with. A frozen answer stays as this version gave it. */
export const ENGINE_VERSION: string = packageJson.version
