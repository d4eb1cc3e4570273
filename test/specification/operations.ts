import type { Shape } from './shapes.ts'

/** One operation of the specification, in its words: the fields of the body, the answer and the example. */
export type Operation = {
  readonly title: string
  /** The method and the path in the specification, without the host. */
  readonly route: string
  readonly body?: Readonly<Record<string, string>>
  readonly response: string | Shape
  readonly curl: string
}

const KEYED = `-H "Content-Type: application/json" \\
  -H "Authorization: Bearer YOUR_TOKEN_HERE"`

/** All operations of the specification, in its order. */
export const operations: readonly Operation[] = [
  {
    title: 'Create an API key',
    route: 'POST /api/auth/keys',
    body: { name: 'str' },
    response: 'ApiKeyResponse',
    curl: `curl -X POST http://localhost:8000/api/auth/keys \\
  -H "Content-Type: application/json" \\
  -d '{"name": "my_api_key"}'`,
  },
  {
    title: 'See all the tokens',
    route: 'GET /api/auth/keys',
    response: 'List[ApiKeyResponse]',
    curl: 'curl http://localhost:8000/api/auth/keys',
  },
  {
    title: 'Remove a key',
    route: 'DELETE /api/auth/keys/{key_id}',
    response: { message: 'API key deleted successfully' },
    curl: 'curl -X DELETE http://localhost:8000/api/auth/keys/123',
  },
  {
    title: 'Create an Experiment',
    route: 'POST /api/experiments',
    body: { name: 'str', description: 'Optional[str] = None' },
    response: 'ExperimentResponse',
    curl: `curl -X POST http://localhost:8000/api/experiments \\
  ${KEYED} \\
  -d '{"name": "new_checkout_flow"}'`,
  },
  {
    title: 'Get All Experiments',
    route: 'GET /api/experiments',
    response: 'List[ExperimentResponse]',
    curl: `curl http://localhost:8000/api/experiments \\
  ${KEYED}`,
  },
  {
    title: 'Get One Experiment',
    route: 'GET /api/experiments/{experiment_id}',
    response: 'ExperimentDetailResponse',
    curl: `curl http://localhost:8000/api/experiments/{experiment_id} \\
  ${KEYED}`,
  },
  {
    title: 'Add an Experiment Variant',
    route: 'POST /api/experiments/{experiment_id}/variants',
    body: { name: 'str', percent_allocated: 'float' },
    response: 'VariantResponse',
    curl: `curl -X POST http://localhost:8000/api/experiments/1/variants \\
  ${KEYED} \\
  -d '{"name": "control", "percent_allocated": 50.0}'`,
  },
  {
    title: 'Update an experiment variant',
    route: 'PUT /api/experiments/{experiment_id}/variants/{variant_id}',
    body: { name: 'Optional[str] = None', percent_allocated: 'Optional[float] = None' },
    response: 'VariantResponse',
    curl: `curl -X PUT http://localhost:8000/api/experiments/1/variants/2 \\
  ${KEYED} \\
  -d '{"percent_allocated": 60.0}'`,
  },
  {
    title: 'Check Experiment Eligibility and Get Variant',
    route: 'POST /api/experiments/check-eligibility',
    body: { user_id: 'str', experiment_ids: 'List[int]' },
    response: 'EligibilityResponse',
    curl: `curl -X POST http://localhost:8000/api/experiments/check-eligibility \\
  ${KEYED} \\
  -d '{"user_id": "user_12345", "experiment_ids": [1, 2, 3]}'`,
  },
  {
    title: 'Get experiment results',
    route: 'POST /api/experiments/{experiment_id}/results',
    body: {
      conversion_event_type: 'str = "conversion"',
      confidence_level: 'float = 0.95',
      significance_threshold: 'float = 0.05',
    },
    response: 'ResultsResponse',
    curl: `curl -X POST http://localhost:8000/api/experiments/1/results \\
  ${KEYED} \\
  -d '{"conversion_event_type": "conversion", "confidence_level": 0.95}'`,
  },
  {
    title: 'Create a Segment',
    route: 'POST /api/segments',
    body: { name: 'str', description: 'Optional[str] = None', rules: 'Optional[dict] = None' },
    response: 'SegmentResponse',
    curl: `curl -X POST http://localhost:8000/api/segments \\
  ${KEYED} \\
  -d '{"name": "US Premium Users", "description": "Premium users from the US", "rules": {"country_code": "US", "is_premium": true}}'`,
  },
  {
    title: 'Get All Segments',
    route: 'GET /api/segments',
    response: 'List[SegmentResponse]',
    curl: `curl http://localhost:8000/api/segments \\
  ${KEYED}`,
  },
  {
    title: 'Get Segment By Id',
    route: 'GET /api/segments/{segment_id}',
    response: 'SegmentResponse',
    curl: `curl http://localhost:8000/api/segments/1 \\
  ${KEYED}`,
  },
  {
    title: 'Edit Segment',
    route: 'PUT /api/segments/{segment_id}',
    body: { name: 'Optional[str] = None', description: 'Optional[str] = None', rules: 'Optional[dict] = None' },
    response: 'SegmentResponse',
    curl: `curl -X PUT http://localhost:8000/api/segments/1 \\
  ${KEYED} \\
  -d '{"description": "Updated description"}'`,
  },
  {
    title: 'Assign User to a Segment',
    route: 'POST /api/segments/assign-user',
    body: { user_id: 'str', segment_id: 'int' },
    response: { message: 'User assigned to segment successfully' },
    curl: `curl -X POST http://localhost:8000/api/segments/assign-user \\
  ${KEYED} \\
  -d '{"user_id": "user_12345", "segment_id": 1}'`,
  },
  {
    title: 'Assign Segment to an Experiment',
    route: 'POST /api/segments/assign-experiment',
    body: { experiment_id: 'int', segment_id: 'int' },
    response: { message: 'Segment assigned to experiment successfully' },
    curl: `curl -X POST http://localhost:8000/api/segments/assign-experiment \\
  ${KEYED} \\
  -d '{"experiment_id": 1, "segment_id": 1}'`,
  },
  {
    title: 'Remove Segment from an Experiment',
    route: 'DELETE /api/segments/unassign-experiment',
    body: { experiment_id: 'int', segment_id: 'int' },
    response: { message: 'Segment removed from experiment successfully' },
    curl: `curl -X DELETE http://localhost:8000/api/segments/unassign-experiment \\
  ${KEYED} \\
  -d '{"experiment_id": 1, "segment_id": 1}'`,
  },
  {
    title: 'Create a User',
    route: 'POST /api/users/',
    body: {
      first_name: 'str',
      last_name: 'str',
      email: 'EmailStr',
      is_premium: 'bool = False',
      country_code: 'Optional[str] = None',
    },
    response: 'UserResponse',
    curl: `curl -X POST http://localhost:8000/api/users/ \\
  ${KEYED} \\
  -d '{"first_name": "John", "last_name": "Doe", "email": "john.doe@example.com", "is_premium": true, "country_code": "US"}'`,
  },
  {
    title: 'Get Users',
    route: 'GET /api/users/',
    response: 'List[UserResponse]',
    curl: `curl http://localhost:8000/api/users/ \\
  ${KEYED}`,
  },
  {
    title: 'Get User by Id',
    route: 'GET /api/users/{user_id}',
    response: 'UserResponse',
    curl: `curl http://localhost:8000/api/users/user_12345 \\
  ${KEYED}`,
  },
  {
    title: 'Update User',
    route: 'PUT /api/users/{user_id}',
    body: {
      first_name: 'Optional[str] = None',
      last_name: 'Optional[str] = None',
      email: 'Optional[EmailStr] = None',
      is_premium: 'Optional[bool] = None',
      country_code: 'Optional[str] = None',
    },
    response: 'UserResponse',
    curl: `curl -X PUT http://localhost:8000/api/users/user_12345 \\
  ${KEYED} \\
  -d '{"is_premium": true, "country_code": "CA"}'`,
  },
  {
    title: 'Delete User',
    route: 'DELETE /api/users/{user_id}',
    response: { message: 'User deleted successfully' },
    curl: `curl -X DELETE http://localhost:8000/api/users/user_12345 \\
  ${KEYED}`,
  },
  {
    title: 'Create an Event',
    route: 'POST /api/events',
    body: {
      user_id: 'str',
      experiment_id: 'Optional[int] = None',
      variant_id: 'Optional[int] = None',
      type: 'str',
      properties: 'Optional[dict] = None',
    },
    response: 'EventResponse',
    curl: `curl -X POST http://localhost:8000/api/events \\
  ${KEYED} \\
  -d '{"user_id": "user_12345", "experiment_id": 1, "variant_id": 2, "type": "conversion", "properties": {"value": 99.99}}'`,
  },
  {
    title: 'Get Events',
    route: 'POST /api/events/{experiment_id}',
    body: {
      start_time: 'Optional[datetime]',
      end_time: 'Optional[datetime]',
      variant_id: 'Optional[int]',
      event_types: 'Optional[List[string]]',
      user_ids: 'Optional[List[string]]',
    },
    response: 'List[EventResponse]',
    curl: `curl -X POST http://localhost:8000/api/events/1 \\
  ${KEYED} \\
  -d '{"variant_id": 2, "event_types": ["click", "conversion"]}'`,
  },
]
