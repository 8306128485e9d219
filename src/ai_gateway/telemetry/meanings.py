"""Every metric: its kind, labels, meaning, and name over OTLP. The only place that defines them.

`python -m ai_gateway.telemetry.reference` makes the docs' table from it.
"""

from typing import Final

from ai_gateway.telemetry import names
from ai_gateway.telemetry.metric import Metric, counter, gauge, seconds

_SUFFIXES: Final = {"s": "_seconds", "By": "_bytes"}
_MODEL: Final = ("model",)
# No label is called `endpoint` or `pod`: the Prometheus operator sets these on its scrape targets.
_ENDPOINT: Final = ("upstream", "upstream_pod")
_SOURCE: Final = ("source",)
_CALL: Final = ("gen_ai_operation_name", "gen_ai_provider_name", "gen_ai_request_model")


_REQUESTS: Final[dict[str, Metric]] = {
    names.REQUESTS: counter(
        "Requests by outcome. `status` is what the client got; for a stream that had begun, what it would have got. "
        "`error_type` and `code` are those of the error, or say how the request ended. Empty: there is no error.",
        *("route", "model", "caller", "status", "error_type", "code"),
        unit="{request}",
    ),
    names.HTTP_DURATION: seconds(
        "From a request's head to the last byte of its answer.",
        *("http_request_method", "url_scheme", "http_route", "http_response_status_code", "error_type"),
        convention="http.server.request.duration",
    ),
    names.SERVER_DURATION: seconds(
        "Calls to a model: from the request's head to the last byte of the answer.",
        *(*_CALL, "error_type"),
        convention="gen_ai.server.request.duration",
    ),
    names.CLIENT_DURATION: seconds(
        "Calls sent to Ollama: from the start of the last attempt to the last byte of the answer.",
        *(*_CALL, "error_type"),
        convention="gen_ai.client.operation.duration",
    ),
    names.FIRST_TOKEN: seconds(
        "Successful streams: from the request's head to the first token, including waiting and loading.",
        *_CALL,
        convention="gen_ai.server.time_to_first_token",
    ),
    names.PER_TOKEN: seconds(
        "Successful streams: the mean time between two tokens of an answer.",
        *_CALL,
        convention="gen_ai.server.time_per_output_token",
    ),
    names.TOKEN_USAGE: Metric(
        "histogram",
        (*_CALL, "gen_ai_token_type"),
        "Tokens of a call, `input` and `output`, as Ollama counted them.",
        "{token}",
        "gen_ai.client.token.usage",
    ),
    names.CALLER_TOKENS: counter(
        "Tokens by caller, `input` and `output`.", "caller", "model", "token_type", unit="{token}"
    ),
    names.QUEUE_WAIT: seconds(
        "How long calls waited for a slot while their model was loaded somewhere, including those that got none.",
        "model",
    ),
    names.LOAD_WAIT: seconds(
        "How long calls waited while their model was loaded nowhere, including those that gave up. Calls that found it "
        "loaded are not counted.",
        "model",
    ),
    names.LOAD_AND_PREFILL: seconds(
        "From sending a call to the first byte, if the model was not resident: with the policy `warm` that is rare. "
        "Only streams and embeddings: the first byte of other answers waits for their last token.",
        "model",
    ),
    names.PICKS: counter(
        "Attempts, by the reason why the policy chose the endpoint.", "model", "reason", unit="{attempt}"
    ),
    names.RETRIES: counter("Second attempts.", "model", unit="{attempt}"),
    names.REFUSED_CONNECTIONS: counter(
        "Requests refused before the gateway could read them: broken framing, a head too large, a client too slow.",
        *("status", "code"),
        unit="{request}",
    ),
}
_FLEET: Final[dict[str, Metric]] = {
    names.IN_FLIGHT: gauge(
        "Calls that hold a slot. All ids of one Ollama model show the same number.", *_MODEL, unit="{call}"
    ),
    names.QUEUED: gauge("Calls that wait for a slot.", *_MODEL, unit="{call}"),
    names.SLOTS: gauge(
        "Slots, `used` and `free`: how many calls can run at a time. With the policy `warm` only endpoints with the "
        "model loaded have free ones.",
        "model",
        "state",
        unit="{slot}",
    ),
    names.SATURATION: gauge(
        "Used slots / all slots. Without slots it is 1, but 0 for a model that is loaded nowhere while nobody waits.",
        *_MODEL,
    ),
    names.DEMAND: gauge("Calls that hold a slot or wait for one: scale on this.", *_MODEL, unit="{call}"),
    names.COLD_WAIT: gauge(
        "How long the first call of a model has been waiting that is loaded nowhere; 0 if none waits.",
        *_MODEL,
        unit="s",
    ),
    names.RETRY_BUDGET: gauge("Retries that may begin now.", unit="{attempt}"),
    names.RETRIES_IN_FLIGHT: gauge("Retries that run now.", unit="{attempt}"),
    names.ENDPOINTS: gauge("Endpoints by state.", "state", unit="{endpoint}"),
    names.ENDPOINT_UP: gauge("Whether the endpoint takes calls; draining endpoints have no value.", *_ENDPOINT),
    names.ENDPOINT_EJECTED: gauge("Whether the endpoint is ejected after failures in a row.", *_ENDPOINT),
    names.ENDPOINT_IN_FLIGHT: gauge("Calls that run on the endpoint.", *_ENDPOINT, unit="{call}"),
    names.ENDPOINT_RESIDENT: gauge("1 for each served model that the endpoint has loaded.", *_ENDPOINT, "model"),
    names.ENDPOINT_ATTEMPTS: counter("Calls sent to the endpoint.", *_ENDPOINT, unit="{attempt}"),
    names.ENDPOINT_FAILURES: counter(
        "Calls that the endpoint failed: not reached, cut before the answer began, or a 5xx that another endpoint "
        "did not give.",
        *_ENDPOINT,
        unit="{attempt}",
    ),
    names.ENDPOINT_LOADS: counter("Models that appeared in `/api/ps` between two probes.", *_ENDPOINT, unit="{model}"),
    names.ENDPOINT_UNLOADS: counter(
        "Models that disappeared from `/api/ps` between two probes.", *_ENDPOINT, unit="{model}"
    ),
    names.ENDPOINT_POLL_AGE: gauge("Seconds since the endpoint last answered a probe.", *_ENDPOINT, unit="s"),
    names.ENDPOINT_SPEED: gauge(
        "How fast the endpoint writes, as learned from its answers; 1 is the mean of the fleet.", *_ENDPOINT
    ),
}
_LOADS: Final[dict[str, Metric]] = {
    names.LOADS: counter(
        "Loads that this gateway began. `room`: `free` if there was memory for the model, `made` if another model had "
        "to go.",
        *("model", "room"),
        unit="{load}",
    ),
    names.LOAD_SECONDS: seconds(
        "How long these loads took in Ollama, without the unload before. `outcome`: `loaded`, `failed`, `dropped` (the "
        "endpoint went away, or all who waited while its room was made).",
        *("model", "outcome"),
    ),
    names.LOADS_UNDER_WAY: gauge(
        "Loads of this gateway by phase: `reserved` (the model that must go still has calls), `unloading`, `loading`.",
        "phase",
        unit="{load}",
    ),
    names.LOAD_FAILING: gauge(
        "Endpoints where the last load of the model failed; the gateway tries them again later.",
        *_MODEL,
        unit="{endpoint}",
    ),
    names.LOADS_DECIDED: gauge("Whether this gateway decides on loads; of several gateways one does."),
    names.LEARNED_LOAD: gauge("How long a load of the model takes, as learned from loads.", *_MODEL, unit="s"),
    names.LEARNED_CALL: gauge("How long a call holds its slot, as learned from calls.", *_MODEL, unit="s"),
}
_ROLLOUTS: Final[dict[str, Metric]] = {
    names.ROLLOUT: gauge(
        "1 for the state of each model that follows the config: `pulling` (no endpoint serves it yet), `updating` "
        "(another version serves meanwhile), `done`, `failed`. Only gateways that know it tell: take the maximum.",
        *("model", "state"),
    ),
    names.ROLLOUT_ENDPOINTS: gauge(
        "The endpoints of that model: `done`, `left`, and `failed`, where the last step failed and is tried again.",
        *("model", "state"),
        unit="{endpoint}",
    ),
    names.ROLLOUT_PROGRESS: gauge(
        "How much of what is pulled for the model now is there, from 0 to 1; no value while nothing is pulled.", *_MODEL
    ),
    names.ROLLOUT_STEPS: counter(
        "Steps on endpoints that ended: `pull`, `copy`, `create`, `let_go` (a former version leaves the memory), "
        "`delete`. `outcome`: `done`, `failed`, `dropped` (not due any more, or cut).",
        *("step", "outcome"),
        unit="{step}",
    ),
    names.PULLED: counter(
        "Bytes that endpoints downloaded for the model, as this gateway's pulls told.", *_MODEL, unit="By"
    ),
    names.ENDPOINT_UNNAMED: gauge(
        "Bytes on the endpoint's disk that only names have which the gateway made and no config names: `prune` frees "
        "them. With `shared_store` each endpoint shows all of the store.",
        *_ENDPOINT,
        unit="By",
    ),
}
_GATEWAY: Final[dict[str, Metric]] = {
    names.BUILD: gauge("The version of this gateway.", "version"),
    names.LOOP_LAG: seconds("How late the event loop runs a timer, measured four times a second."),
    names.TASKS: gauge("Tasks of the event loop.", unit="{task}"),
    names.LOG_LINES_DROPPED: counter(
        "Lines of the access log or the gateway's own log that were dropped because the reader was too slow.",
        "stream",
        unit="{line}",
    ),
    names.DESCRIPTORS_OUT: gauge(
        "Whether no file descriptor is left: the gateway closes new connections without reading them."
    ),
    names.SPANS: counter("Spans, by whether they were exported; only if you export spans.", "result", unit="{span}"),
    names.AUTH_FAILING: gauge("Whether this method of authentication does not work now.", "method"),
    names.CONFIG_GOOD: gauge("Whether the newest config is in force."),
    names.CONFIG_TAKEN: gauge("When the config in force was loaded, in Unix seconds.", unit="s"),
    names.CONFIG_FAILING: gauge("Whether the gateway cannot follow its config now, and would miss a change."),
    names.CONFIG_REJECTED: counter("Configs that were refused because they were not valid."),
    names.CONFIG: gauge("The config in force.", "hash", "source"),
    names.EVENTS_DROPPED: counter("Kubernetes Events that could not be sent."),
    names.DISCOVERY_AGE: gauge(
        "Seconds since the source of endpoints last answered; a quiet watch gets an answer about once a minute.",
        *_SOURCE,
        unit="s",
    ),
    names.DISCOVERY_SEEN: gauge("Pods or endpoints that discovery found, ready or not.", *_SOURCE),
    names.DISCOVERY_FAILING: gauge("Whether discovery fails now.", *_SOURCE),
    names.DISCOVERY_LISTS: counter("Whole lists of endpoints that discovery received.", *_SOURCE),
    names.DISCOVERY_FAILURES: counter("Requests of discovery that failed.", *_SOURCE),
    names.PEERS: gauge(
        "Other gateways of the same Service: `fresh` if this one hears of them, `silent` if they are ready and it does "
        "not, `unready`, `terminating`.",
        "state",
        unit="{gateway}",
    ),
    names.REPORT_FAILURES: counter(
        "Questions to other gateways without a good answer: `unreachable`, `refused` (an older release says 404), "
        "`invalid`.",
        "reason",
        unit="{request}",
    ),
}
_LIMITS: Final[dict[str, Metric]] = {
    names.LIMIT_REFUSALS: counter(
        "Calls that a limit refused. `limit` says whose limit and which one: `caller_rpm`, `tenant_tpm`, "
        "`model_concurrent`, `caller_tokens_per_day`, ...",
        *("caller", "limit"),
        unit="{request}",
    ),
    names.LIMIT_REMAINING: gauge(
        "What the last caller of this name has left of its tightest limit of each kind: `rpm`, `tpm`, `concurrent`, "
        "`tokens_per_day`.",
        *("caller", "limit"),
    ),
    names.LIMIT_FALLBACKS: counter(
        "Calls that this gateway checked with its own counts because Redis was away.", unit="{request}"
    ),
    names.LIMIT_GATEWAYS: gauge(
        "How many gateways share the limits when each counts by itself; 1 if they count together.", unit="{gateway}"
    ),
    names.DISBELIEVED: counter(
        "Answers whose `usage` is impossible or has no counts: the gateway uses its own count instead.",
        *("model", "upstream"),
        unit="{request}",
    ),
}

_AUDIT: Final[dict[str, Metric]] = {
    names.AUDIT_ENTRIES: counter(
        "Entries by result: `stored`; `dropped` because too many waited; `failed` because the store rejected them, "
        "or the gateway ended first.",
        "result",
        unit="{entry}",
    ),
    names.AUDIT_QUEUED: gauge("Entries that are not stored yet.", unit="{entry}"),
    names.AUDIT_LAG: gauge("How long the oldest of these entries has been waiting.", unit="s"),
    names.AUDIT_FAILING: gauge("Whether the gateway cannot write its audit now."),
    names.AUDIT_LOSSES: counter("How often stored entries turned out to be gone."),
    names.AUDIT_SPOOL: gauge("Bytes of entries that wait on disk while PostgreSQL is away.", unit="By"),
}
# Prometheus' standard names, measured by its client library, on Linux alone.
_PROCESS: Final[dict[str, Metric]] = {
    "process_resident_memory_bytes": gauge("Resident memory size in bytes.", unit="By"),
    "process_virtual_memory_bytes": gauge("Virtual memory size in bytes.", unit="By"),
    "process_start_time_seconds": gauge("Start time of the process since unix epoch in seconds.", unit="s"),
    "process_cpu_seconds_total": counter("Total user and system CPU time spent in seconds.", unit="s"),
    "process_open_fds": gauge("Number of open file descriptors."),
    "process_max_fds": gauge("Maximum number of open file descriptors."),
}
GROUPS: Final[dict[str, dict[str, Metric]]] = {
    "Requests": _REQUESTS,
    "Models and endpoints": _FLEET,
    "Loads": _LOADS,
    "Rollouts": _ROLLOUTS,
    "Limits": _LIMITS,
    "The gateway": _GATEWAY,
    "The audit": _AUDIT,
    "The process": _PROCESS,
}
METRICS: Final[dict[str, Metric]] = {name: metric for group in GROUPS.values() for name, metric in group.items()}


def name_over_otlp(name: str) -> str:
    """A metric's name over OTLP, by its name in a scrape.

    It is the convention's name, if there is one. A collector that writes the gateway's own names for Prometheus gets
    the names of a scrape: `ai_gateway.queue_wait` in seconds becomes `ai_gateway_queue_wait_seconds`.
    """
    metric = METRICS[name]
    if metric.convention:
        return metric.convention
    room = "process" if name.startswith("process_") else "ai_gateway"
    thing = name.removeprefix(f"{room}_").removesuffix("_total").removesuffix(_SUFFIXES.get(metric.unit, ""))
    return f"{room}.{thing}"
