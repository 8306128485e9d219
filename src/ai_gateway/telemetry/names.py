"""Every name of spans, attributes, events and metrics. docs/observability.md lists them; a test compares.

HTTP names are OpenTelemetry's stable ones. GenAI names are those of semantic conventions 1.41.1, the last version that
had them in the core repository (later ones live in semantic-conventions-genai). Own attributes begin with `aigw.`, own
metrics with `ai_gateway_`. In Prometheus a convention's metric is written as its translation rules say: dots become
underscores, seconds are appended as the unit.
"""

from typing import Final

SCHEMA_URL: Final = "https://opentelemetry.io/schemas/1.41.1"
SCOPE: Final = "ai_gateway"
PROVIDER: Final = "ollama"  # gen_ai.provider.name has no well-known value for it

# -- attributes of HTTP spans (https://opentelemetry.io/docs/specs/semconv/http/http-spans/)
METHOD: Final = "http.request.method"
METHOD_ORIGINAL: Final = "http.request.method_original"
ROUTE: Final = "http.route"
STATUS: Final = "http.response.status_code"
RESEND_COUNT: Final = "http.request.resend_count"
REQUEST_HEADER: Final = "http.request.header."  # a prefix; the name in lower case follows
RESPONSE_HEADER: Final = "http.response.header."
URL_PATH: Final = "url.path"
URL_QUERY: Final = "url.query"
URL_SCHEME: Final = "url.scheme"
URL_FULL: Final = "url.full"
CLIENT_ADDRESS: Final = "client.address"
PEER_ADDRESS: Final = "network.peer.address"
PEER_PORT: Final = "network.peer.port"
PROTOCOL_VERSION: Final = "network.protocol.version"
SERVER_ADDRESS: Final = "server.address"
SERVER_PORT: Final = "server.port"
USER_AGENT: Final = "user_agent.original"
ERROR_TYPE: Final = "error.type"

# -- attributes of the GenAI span (semconv 1.41.1, gen_ai.inference.client and gen_ai.embeddings.client)
OPERATION: Final = "gen_ai.operation.name"
PROVIDER_NAME: Final = "gen_ai.provider.name"
REQUEST_MODEL: Final = "gen_ai.request.model"
REQUEST_STREAM: Final = "gen_ai.request.stream"
REQUEST_SEED: Final = "gen_ai.request.seed"
REQUEST_TEMPERATURE: Final = "gen_ai.request.temperature"
REQUEST_TOP_P: Final = "gen_ai.request.top_p"
REQUEST_TOP_K: Final = "gen_ai.request.top_k"
REQUEST_MAX_TOKENS: Final = "gen_ai.request.max_tokens"
REQUEST_FREQUENCY_PENALTY: Final = "gen_ai.request.frequency_penalty"
REQUEST_PRESENCE_PENALTY: Final = "gen_ai.request.presence_penalty"
REQUEST_STOP: Final = "gen_ai.request.stop_sequences"
REQUEST_ENCODING_FORMATS: Final = "gen_ai.request.encoding_formats"
EMBEDDING_DIMENSIONS: Final = "gen_ai.embeddings.dimension.count"
OUTPUT_TYPE: Final = "gen_ai.output.type"
RESPONSE_ID: Final = "gen_ai.response.id"
RESPONSE_MODEL: Final = "gen_ai.response.model"
FINISH_REASONS: Final = "gen_ai.response.finish_reasons"
FIRST_CHUNK_SECONDS: Final = "gen_ai.response.time_to_first_chunk"
INPUT_TOKENS: Final = "gen_ai.usage.input_tokens"
OUTPUT_TOKENS: Final = "gen_ai.usage.output_tokens"
TOKEN_TYPE: Final = "gen_ai.token.type"  # noqa: S105 - a name, no secret
INPUT_MESSAGES: Final = "gen_ai.input.messages"  # only if content is turned on
OUTPUT_MESSAGES: Final = "gen_ai.output.messages"

# -- own attributes
REQUEST_ID: Final = "aigw.request.id"
CALLER: Final = "aigw.caller"
CALLER_METHOD: Final = "aigw.caller.method"  # how the caller authenticated; absent without authentication
CALLER_TENANT: Final = "aigw.caller.tenant"
CALLER_GROUPS: Final = "aigw.caller.groups"
OUTCOME: Final = "aigw.outcome"  # how it ended, as in the access line
MODEL_REQUESTED: Final = "aigw.model.requested"  # the id in the client's request
PICK_REASON: Final = "aigw.pick.reason"
PICK_WARM: Final = "aigw.pick.warm"  # the model was resident there
UPSTREAM_POD: Final = "aigw.upstream.pod"
UPSTREAM_NAMESPACE: Final = "aigw.upstream.namespace"
UPSTREAM_NODE: Final = "aigw.upstream.node"
UPSTREAM_VERSION: Final = "aigw.upstream.version"  # Ollama's name of what was called, where the gateway makes names
# Seconds of each phase of a call, on the GenAI span; absent if the call did not reach the phase.
PHASE_AUTH: Final = "aigw.phase.auth"  # from the first byte of the request until the caller is known
PHASE_BODY: Final = "aigw.phase.body"  # until the body was read and understood
PHASE_LOAD: Final = "aigw.phase.load"  # of the wait: while the model was resident nowhere; absent if it never was
PHASE_QUEUE: Final = "aigw.phase.queue"  # the rest of the wait: until a slot was free
PHASE_PREFILL: Final = "aigw.phase.prefill"  # until the first byte of the answer, if the model was resident
PHASE_LOAD_AND_PREFILL: Final = "aigw.phase.load_and_prefill"  # the same if it was not: /v1 does not separate the two
PHASE_DECODE: Final = "aigw.phase.decode"  # until the last byte

# -- log records of the audit, if it goes to a collector
AUDIT_EVENT: Final = "aigw.audit"
AUDIT: Final = "aigw.audit."  # a prefix; the name of an entry's field follows, or `hash`

# -- events of the GenAI span
EVENT_QUEUED: Final = "aigw.queued"
EVENT_PICKED: Final = "aigw.picked"
EVENT_RETRY: Final = "aigw.retry"
EVENT_FIRST_CHUNK: Final = "aigw.first_chunk"
EVENT_TRUNCATED: Final = "aigw.truncated"

# -- metrics of conventions, as Prometheus writes them
HTTP_DURATION: Final = "http_server_request_duration_seconds"
SERVER_DURATION: Final = "gen_ai_server_request_duration_seconds"
CLIENT_DURATION: Final = "gen_ai_client_operation_duration_seconds"
FIRST_TOKEN: Final = "gen_ai_server_time_to_first_token_seconds"  # noqa: S105
PER_TOKEN: Final = "gen_ai_server_time_per_output_token_seconds"  # noqa: S105
TOKEN_USAGE: Final = "gen_ai_client_token_usage"  # noqa: S105

# -- own metrics of requests
REQUESTS: Final = "ai_gateway_requests_total"  # route, model, caller, status, error_type, code
CALLER_TOKENS: Final = "ai_gateway_caller_tokens_total"  # caller, model, token_type: input or output
QUEUE_WAIT: Final = "ai_gateway_queue_wait_seconds"  # model
LOAD_WAIT: Final = "ai_gateway_load_wait_seconds"  # model; calls whose model was resident nowhere
LOAD_AND_PREFILL: Final = "ai_gateway_load_and_prefill_seconds"  # model; calls to endpoints where it was not resident
PICKS: Final = "ai_gateway_picks_total"  # model, reason
RETRIES: Final = "ai_gateway_retries_total"  # model
REFUSED_CONNECTIONS: Final = "ai_gateway_refused_before_request_total"  # status, code
# -- gauges of a model, for dashboards and autoscalers
IN_FLIGHT: Final = "ai_gateway_in_flight"  # model
QUEUED: Final = "ai_gateway_queued"  # model
SLOTS: Final = "ai_gateway_slots"  # model, state: used or free
SATURATION: Final = "ai_gateway_slot_saturation"  # model; used slots / all slots
DEMAND: Final = "ai_gateway_demand"  # model; calls in flight and queued
COLD_WAIT: Final = "ai_gateway_cold_wait_seconds"  # model; age of the first call that waits for its load
RETRY_BUDGET: Final = "ai_gateway_retry_budget"  # retries that may begin now
RETRIES_IN_FLIGHT: Final = "ai_gateway_retries_in_flight"
# -- per endpoint: `upstream` is HOST:PORT, `upstream_pod` NAMESPACE/NAME or empty
ENDPOINTS: Final = "ai_gateway_endpoints"  # state
ENDPOINT_UP: Final = "ai_gateway_endpoint_up"
ENDPOINT_EJECTED: Final = "ai_gateway_endpoint_ejected"
ENDPOINT_IN_FLIGHT: Final = "ai_gateway_endpoint_in_flight"
ENDPOINT_RESIDENT: Final = "ai_gateway_endpoint_resident"  # and model: 1 for each loaded one
ENDPOINT_ATTEMPTS: Final = "ai_gateway_endpoint_attempts_total"
ENDPOINT_FAILURES: Final = "ai_gateway_endpoint_failures_total"
ENDPOINT_LOADS: Final = "ai_gateway_endpoint_loads_total"  # models that appeared in /api/ps
ENDPOINT_UNLOADS: Final = "ai_gateway_endpoint_unloads_total"  # models that disappeared from it
ENDPOINT_POLL_AGE: Final = "ai_gateway_endpoint_poll_age_seconds"
ENDPOINT_SPEED: Final = "ai_gateway_endpoint_speed"
# -- loads that this gateway makes
LOADS: Final = "ai_gateway_loads_total"  # model, room: free or made
LOAD_SECONDS: Final = "ai_gateway_load_seconds"  # model, outcome: loaded, failed, dropped
LOADS_UNDER_WAY: Final = "ai_gateway_loads_under_way"  # phase: reserved, unloading, loading
LOAD_FAILING: Final = "ai_gateway_load_failing"  # model; endpoints where its last load failed
LOADS_DECIDED: Final = "ai_gateway_loads_decided"  # whether this gateway decides on loads
LEARNED_LOAD: Final = "ai_gateway_learned_load_seconds"  # model
LEARNED_CALL: Final = "ai_gateway_learned_call_seconds"  # model
# -- models that follow the config
ROLLOUT: Final = "ai_gateway_rollout"  # model, state: pulling, updating, done, failed
ROLLOUT_ENDPOINTS: Final = "ai_gateway_rollout_endpoints"  # model, state: done, left, failed
ROLLOUT_PROGRESS: Final = "ai_gateway_rollout_progress"  # model
ROLLOUT_STEPS: Final = "ai_gateway_rollout_steps_total"  # step, outcome: done, failed, dropped
PULLED: Final = "ai_gateway_pulled_bytes_total"  # model
ENDPOINT_UNNAMED: Final = "ai_gateway_endpoint_unnamed_bytes"  # as all of an endpoint's
# -- the process
LOOP_LAG: Final = "ai_gateway_loop_lag_seconds"
TASKS: Final = "ai_gateway_tasks"
SPANS: Final = "ai_gateway_spans_total"  # result: exported, failed, dropped
LOG_LINES_DROPPED: Final = "ai_gateway_log_lines_dropped_total"  # stream: standard output, standard error
DESCRIPTORS_OUT: Final = "ai_gateway_descriptors_exhausted"
BUILD: Final = "ai_gateway_build_info"  # version
# -- authentication
AUTH_FAILING: Final = "ai_gateway_auth_failing"  # method
# -- config and discovery
CONFIG_GOOD: Final = "ai_gateway_config_last_reload_successful"
CONFIG_TAKEN: Final = "ai_gateway_config_last_reload_success_timestamp_seconds"
CONFIG_FAILING: Final = "ai_gateway_config_failing"
CONFIG_REJECTED: Final = "ai_gateway_config_rejected_total"
CONFIG: Final = "ai_gateway_config_info"  # hash, source
EVENTS_DROPPED: Final = "ai_gateway_events_dropped_total"
DISCOVERY_AGE: Final = "ai_gateway_discovery_age_seconds"  # source, as all of discovery's
DISCOVERY_SEEN: Final = "ai_gateway_discovery_seen"
DISCOVERY_FAILING: Final = "ai_gateway_discovery_failing"
DISCOVERY_LISTS: Final = "ai_gateway_discovery_lists_total"
DISCOVERY_FAILURES: Final = "ai_gateway_discovery_failures_total"
# -- the other gateways of the same Service
PEERS: Final = "ai_gateway_peers"  # state: fresh, silent, unready, terminating
REPORT_FAILURES: Final = "ai_gateway_report_failures_total"  # reason: unreachable, refused, invalid

# -- limits
LIMIT_REFUSALS: Final = "ai_gateway_limit_refusals_total"  # caller, limit
LIMIT_REMAINING: Final = "ai_gateway_limit_remaining"  # caller, limit
LIMIT_FALLBACKS: Final = "ai_gateway_limit_fallbacks_total"
LIMIT_GATEWAYS: Final = "ai_gateway_limit_gateways"
DISBELIEVED: Final = "ai_gateway_usage_disbelieved_total"  # model, upstream

# -- the audit
AUDIT_ENTRIES: Final = "ai_gateway_audit_entries_total"  # result: stored, dropped, failed
AUDIT_QUEUED: Final = "ai_gateway_audit_queued"
AUDIT_LAG: Final = "ai_gateway_audit_lag_seconds"
AUDIT_FAILING: Final = "ai_gateway_audit_failing"
AUDIT_LOSSES: Final = "ai_gateway_audit_losses_total"
AUDIT_SPOOL: Final = "ai_gateway_audit_spool_bytes"

# -- buckets: as the conventions advise, and longer ones for values that may include a model's load
_GEN_AI_SECONDS: Final = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
_LOADS: Final = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 320.0)
BUCKETS: Final[dict[str, tuple[float, ...]]] = {
    HTTP_DURATION: (
        *(0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0),
        *(30.0, 60.0, 120.0, 300.0),
    ),
    SERVER_DURATION: (*_GEN_AI_SECONDS, 163.84, 327.68),
    CLIENT_DURATION: (*_GEN_AI_SECONDS, 163.84, 327.68),
    FIRST_TOKEN: (
        *(0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0),
        *(20.0, 40.0, 80.0, 160.0),
    ),
    PER_TOKEN: (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5),
    TOKEN_USAGE: tuple(float(4**power) for power in range(14)),
    QUEUE_WAIT: (0.001, 0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0),
    LOAD_WAIT: _LOADS,
    LOAD_AND_PREFILL: _LOADS,
    LOAD_SECONDS: _LOADS,
    LOOP_LAG: (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5),
}
