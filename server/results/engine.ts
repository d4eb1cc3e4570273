import packageJson from '../../package.json' with { type: 'json' }

/** What answers are stamped with: a frozen one stays what this version said. */
export const ENGINE_VERSION: string = packageJson.version
