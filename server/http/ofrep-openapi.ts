/** How the remote evaluation protocol is described beside the procedures in the OpenAPI document. */

const ref = (name: string) => ({ $ref: `#/components/schemas/${name}` })
const json = (name: string) => ({ 'application/json': { schema: ref(name) } })
const failure = (description: string) => ({ description, content: json('OfrepFailure') })
const security = [{ bearer: [] }, { apiKey: [] }]

const key = { type: 'string', examples: ['new-checkout'] }
const retryAfter = { 'Retry-After': { schema: { type: 'integer' }, description: 'Seconds' } }

export const ofrepSecuritySchemes = {
  apiKey: { type: 'apiKey', in: 'header', name: 'X-API-Key', description: 'The same key; for evaluations by OFREP' },
}

export const ofrepSchemas = {
  OfrepRequest: {
    type: 'object',
    properties: {
      context: {
        type: 'object',
        description: "The user's id and, beside it, any attributes: merged over the stored profile for this call only",
        properties: { targetingKey: { type: 'string', description: "The user's id" } },
        additionalProperties: true,
        examples: [{ targetingKey: 'user_12345', country_code: 'US' }],
      },
    },
  },
  OfrepEvaluation: {
    type: 'object',
    properties: {
      key,
      reason: { type: 'string', enum: ['STATIC', 'TARGETING_MATCH', 'SPLIT', 'DISABLED'] },
      value: { description: "Missing: the application's own default" },
      variant: { type: 'string', description: 'The variant of the experiment that decided' },
      metadata: {
        type: 'object',
        properties: {
          rule: { type: 'string', description: 'The rule that answered' },
          experiment_id: { type: 'integer' },
          variant_id: { type: 'integer' },
          variant_name: { type: 'string' },
          run_id: { type: 'integer' },
          exposure: {
            type: 'string',
            enum: ['recorded', 'report', 'none'],
            description: 'report: send a $exposure event when the user is shown it',
          },
          targeting_key: {
            type: 'string',
            description: 'Whose exposure is to be reported, where many flags were asked for',
          },
        },
      },
    },
    required: ['key', 'reason'],
  },
  OfrepFailure: {
    type: 'object',
    properties: {
      key: { ...key, description: 'Missing where many flags were asked for' },
      errorCode: {
        type: 'string',
        enum: ['PARSE_ERROR', 'TARGETING_KEY_MISSING', 'INVALID_CONTEXT', 'FLAG_NOT_FOUND', 'GENERAL'],
      },
      errorDetails: { type: 'string' },
    },
    required: ['errorCode', 'errorDetails'],
  },
  OfrepBulkEvaluation: {
    type: 'object',
    properties: {
      flags: { type: 'array', items: { oneOf: [ref('OfrepEvaluation'), ref('OfrepFailure')] } },
      eventStreams: {
        type: 'array',
        items: {
          type: 'object',
          properties: {
            type: { type: 'string', enum: ['sse'] },
            endpoint: {
              type: 'object',
              properties: { requestUri: { type: 'string', description: 'Relative to the origin of this server' } },
              required: ['requestUri'],
            },
            inactivityDelaySec: { type: 'integer' },
          },
          required: ['type', 'endpoint'],
        },
      },
    },
    required: ['flags', 'eventStreams'],
  },
}

const body = { required: false, content: json('OfrepRequest') }
const refusals = {
  400: failure('The request or its context cannot be read, or the flag takes a targetingKey'),
  401: failure('No API key, or one that is unknown, inactive or expired'),
  403: failure('The API key lacks the scope evaluate'),
  429: { ...failure('More than OFREP_RATE_LIMIT allows'), headers: retryAfter },
  500: failure('Internal server error'),
  503: { ...failure('The database is unavailable or cannot keep up'), headers: retryAfter },
}

/** Not below /api: each path names its own server. */
const servers = [{ url: '/ofrep/v1' }]
export const ofrepPaths = {
  '/evaluate/flags/{key}': {
    servers,
    post: {
      operationId: 'ofrep.evaluateFlag',
      tags: ['ofrep'],
      summary: 'Evaluate one flag, or an experiment as a flag; the user meets what is answered',
      security,
      parameters: [{ name: 'key', in: 'path', required: true, schema: key }],
      requestBody: body,
      responses: {
        200: { description: 'Evaluated', content: json('OfrepEvaluation') },
        ...refusals,
        404: failure('There is no such flag'),
      },
    },
  },
  '/evaluate/flags': {
    servers,
    post: {
      operationId: 'ofrep.evaluateFlags',
      tags: ['ofrep'],
      summary: 'Evaluate all flags; decisions are stored, and nobody is exposed',
      security,
      parameters: [
        { name: 'If-None-Match', in: 'header', required: false, schema: { type: 'string' } },
        {
          name: 'flagConfigEtag',
          in: 'query',
          required: false,
          schema: { type: 'string' },
          description: 'What the stream of changes told of',
        },
        {
          name: 'flagConfigLastModified',
          in: 'query',
          required: false,
          schema: { type: ['integer', 'string'] },
          description: 'The same; the tag alone is looked at',
        },
      ],
      requestBody: body,
      responses: {
        200: {
          description: 'Evaluated',
          content: json('OfrepBulkEvaluation'),
          headers: { ETag: { schema: { type: 'string' } } },
        },
        304: { description: 'The answer is the one that the client has' },
        ...refusals,
      },
    },
  },
  '/event-stream': {
    servers,
    get: {
      operationId: 'ofrep.eventStream',
      tags: ['ofrep'],
      summary: 'Server-sent events that tell web clients to evaluate again; linked to by bulk evaluations',
      security: [],
      parameters: [
        { name: 'token', in: 'query', required: true, schema: { type: 'string' } },
        { name: 'Last-Event-ID', in: 'header', required: false, schema: { type: 'string' } },
      ],
      responses: {
        200: { description: 'Events', content: { 'text/event-stream': { schema: { type: 'string' } } } },
        401: failure('The link is too old, or its API key is not active'),
        503: failure('The process has as many streams as it takes'),
      },
    },
  },
}
