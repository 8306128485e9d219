"""Every metric there is: its kind, its labels, what it says, and its name over OTLP. The one place where that stands.

`python -m ai_gateway.telemetry.reference` makes the table of the docs of it.
"""

from typing import Final, Literal

import msgspec

from ai_gateway.telemetry import names

Kind = Literal["counter", "gauge", "histogram"]

_SUFFIXES: Final = {"s": "_seconds", "By": "_bytes"}
_MODEL: Final = ("model",)
# No label is called `endpoint` or `pod`: Prometheus operator gives these names to whom it scrapes.
_ENDPOINT: Final = ("upstream", "upstream_pod")
_SOURCE: Final = ("source",)
_CALL: Final = ("gen_ai_operation_name", "gen_ai_provider_name", "gen_ai_request_model")


class Metric(msgspec.Struct, frozen=True):
    """A metric. `unit` is UCUM's, as OTLP has it; `convention` its name in OpenTelemetry's conventions, if any."""

    kind: Kind
    labels: tuple[str, ...]
    meaning: str
    unit: str = ""
    convention: str = ""


def _counter(meaning: str, *labels: str, unit: str = "") -> Metric:
    return Metric("counter", labels, meaning, unit)


def _gauge(meaning: str, *labels: str, unit: str = "") -> Metric:
    return Metric("gauge", labels, meaning, unit)


def _seconds(meaning: str, *labels: str, convention: str = "") -> Metric:
    return Metric("histogram", labels, meaning, "s", convention)


_REQUESTS: Final[dict[str, Metric]] = {
    names.REQUESTS: _counter(
        "Requests by outcome. `status` is what the client got, or would have got had a stream not begun; `error_type` "
        "and `code` are those of the error's reply, or how the request ended. Empty: there is none.",
        *("route", "model", "caller", "status", "error_type", "code"),
        unit="{request}",
    ),
    names.HTTP_DURATION: _seconds(
        "From a request's head to the last byte of its answer.",
        *("http_request_method", "url_scheme", "http_route", "http_response_status_code", "error_type"),
        convention="http.server.request.duration",
    ),
    names.SERVER_DURATION: _seconds(
        "Of calls to a model: from the request's head to the last byte of the answer.",
        *(*_CALL, "error_type"),
        convention="gen_ai.server.request.duration",
    ),
    names.CLIENT_DURATION: _seconds(
        "Of calls that were sent: from the last attempt's start to the last byte of the answer.",
        *(*_CALL, "error_type"),
        convention="gen_ai.client.operation.duration",
    ),
    names.FIRST_TOKEN: _seconds(
        "Of streams that went well: from the request's head to the first token, waiting and loading included.",
        *_CALL,
        convention="gen_ai.server.time_to_first_token",
    ),
    names.PER_TOKEN: _seconds(
        "Of streams that went well: the mean time between two tokens of an answer.",
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
    names.CALLER_TOKENS: _counter(
        "Tokens by who asked for them, `input` and `output`.", "caller", "model", "token_type", unit="{token}"
    ),
    names.QUEUE_WAIT: _seconds("How long calls waited for a slot; those too that waited in vain.", "model"),
    names.LOAD_AND_PREFILL: _seconds(
        "From sending to the first byte, where the model was not resident: streams and embeddings, whose first byte "
        "does not wait for the last token.",
        "model",
    ),
    names.PICKS: _counter("Attempts by why the policy chose their endpoint.", "model", "reason", unit="{attempt}"),
    names.RETRIES: _counter("Second attempts.", "model", unit="{attempt}"),
    names.REFUSED_CONNECTIONS: _counter(
        "Requests that were refused before they were any: broken framing, too large a head, too slow.",
        *("status", "code"),
        unit="{request}",
    ),
}
_FLEET: Final[dict[str, Metric]] = {
    names.IN_FLIGHT: _gauge("Calls that hold a slot. Ids of one Ollama model show the same.", *_MODEL, unit="{call}"),
    names.QUEUED: _gauge("Calls that wait for a slot.", *_MODEL, unit="{call}"),
    names.SLOTS: _gauge(
        "Calls that the endpoints in use can run at a time, `used` and `free`.", "model", "state", unit="{slot}"
    ),
    names.SATURATION: _gauge("Used slots / all slots; 1 where there are none.", *_MODEL),
    names.DEMAND: _gauge("Calls that hold a slot or wait for one: what an autoscaler asks.", *_MODEL, unit="{call}"),
    names.RETRY_BUDGET: _gauge("Retries that may begin now.", unit="{attempt}"),
    names.RETRIES_IN_FLIGHT: _gauge("Retries under way.", unit="{attempt}"),
    names.ENDPOINTS: _gauge("Endpoints by state.", "state", unit="{endpoint}"),
    names.ENDPOINT_UP: _gauge("Whether calls may be sent there; of one that leaves nothing is said.", *_ENDPOINT),
    names.ENDPOINT_EJECTED: _gauge("Whether it is left alone after failures in a row.", *_ENDPOINT),
    names.ENDPOINT_IN_FLIGHT: _gauge("Calls that run there.", *_ENDPOINT, unit="{call}"),
    names.ENDPOINT_RESIDENT: _gauge("1 for each served model that is loaded there.", *_ENDPOINT, "model"),
    names.ENDPOINT_ATTEMPTS: _counter("Calls that were sent there.", *_ENDPOINT, unit="{attempt}"),
    names.ENDPOINT_FAILURES: _counter(
        "Calls that it failed: not reached, cut before an answer began, or a 5xx where another one could answer.",
        *_ENDPOINT,
        unit="{attempt}",
    ),
    names.ENDPOINT_LOADS: _counter(
        "Models that appeared among the loaded ones between two looks at it.", *_ENDPOINT, unit="{model}"
    ),
    names.ENDPOINT_UNLOADS: _counter(
        "Models that went from the loaded ones between two looks at it.", *_ENDPOINT, unit="{model}"
    ),
    names.ENDPOINT_POLL_AGE: _gauge("Since it last answered a probe.", *_ENDPOINT, unit="s"),
}
_GATEWAY: Final[dict[str, Metric]] = {
    names.BUILD: _gauge("The version that runs.", "version"),
    names.LOOP_LAG: _seconds("How late the event loop ran what was due, four times a second."),
    names.TASKS: _gauge("Tasks of the event loop.", unit="{task}"),
    names.LOG_LINES_DROPPED: _counter(
        "Lines of the access log or the gateway's own log that nobody took in time.", "stream", unit="{line}"
    ),
    names.DESCRIPTORS_OUT: _gauge("Whether no file descriptor is left: new connections are closed unheard."),
    names.SPANS: _counter("Spans by what became of them; only where spans are exported.", "result", unit="{span}"),
    names.AUTH_FAILING: _gauge("Whether a method that tells who callers are does not work now.", "method"),
    names.CONFIG_GOOD: _gauge("Whether the newest content of the config is in force."),
    names.CONFIG_TAKEN: _gauge("When the config in force was taken, in Unix seconds.", unit="s"),
    names.CONFIG_FAILING: _gauge("Whether a change of the config could not be seen now."),
    names.CONFIG_REJECTED: _counter("Contents that were no valid config."),
    names.CONFIG: _gauge("The config in force.", "hash", "source"),
    names.EVENTS_DROPPED: _counter("Kubernetes Events that could not be sent."),
    names.DISCOVERY_AGE: _gauge(
        "Seconds since discovery heard from whoever it asks; a quiet watch hears about once a minute.",
        *_SOURCE,
        unit="s",
    ),
    names.DISCOVERY_SEEN: _gauge("Pods or endpoints that were looked at, ready or not.", *_SOURCE),
    names.DISCOVERY_FAILING: _gauge("Whether discovery has a complaint now.", *_SOURCE),
    names.DISCOVERY_LISTS: _counter("Whole lists that were taken.", *_SOURCE),
    names.DISCOVERY_FAILURES: _counter("Requests that failed.", *_SOURCE),
}
_LIMITS: Final[dict[str, Metric]] = {
    names.LIMIT_REFUSALS: _counter(
        "Calls that a limit refused. `limit` is whose it is and which: `caller_rpm`, `tenant_tpm`, "
        "`model_concurrent`, `caller_tokens_per_day`, ...",
        *("caller", "limit"),
        unit="{request}",
    ),
    names.LIMIT_REMAINING: _gauge(
        "What whoever called last under this name has left, of its tightest limit of each kind: `rpm`, `tpm`, "
        "`concurrent`, `tokens_per_day`.",
        *("caller", "limit"),
    ),
    names.LIMIT_FALLBACKS: _counter(
        "Calls that were checked by this gateway's own counts, because Redis was away.", unit="{request}"
    ),
    names.LIMIT_GATEWAYS: _gauge(
        "By how many gateways limits are divided here; 1 where counts are shared.", unit="{gateway}"
    ),
    names.DISBELIEVED: _counter(
        "Answers whose `usage` cannot be true, or holds no counts: what the gateway counted itself stands for it.",
        *("model", "upstream"),
        unit="{request}",
    ),
}

_AUDIT: Final[dict[str, Metric]] = {
    names.AUDIT_ENTRIES: _counter(
        "Entries by what became of them: `stored`; `dropped` where too many waited; `failed` where it ended.",
        "result",
        unit="{entry}",
    ),
    names.AUDIT_QUEUED: _gauge("Entries that are not durable yet.", unit="{entry}"),
    names.AUDIT_LAG: _gauge("How long the oldest of them has been waiting.", unit="s"),
    names.AUDIT_FAILING: _gauge("Whether the audit cannot be written now."),
    names.AUDIT_LOSSES: _counter("Times that what the audit had stored was found to be gone."),
    names.AUDIT_SPOOL: _gauge("Size of the entries that wait on disk while PostgreSQL is away.", unit="By"),
}
# Prometheus' standard names, measured by its client library, on Linux alone.
_PROCESS: Final[dict[str, Metric]] = {
    "process_resident_memory_bytes": _gauge("Resident memory size in bytes.", unit="By"),
    "process_virtual_memory_bytes": _gauge("Virtual memory size in bytes.", unit="By"),
    "process_start_time_seconds": _gauge("Start time of the process since unix epoch in seconds.", unit="s"),
    "process_cpu_seconds_total": _counter("Total user and system CPU time spent in seconds.", unit="s"),
    "process_open_fds": _gauge("Number of open file descriptors."),
    "process_max_fds": _gauge("Maximum number of open file descriptors."),
}
GROUPS: Final[dict[str, dict[str, Metric]]] = {
    "Requests": _REQUESTS,
    "Models and endpoints": _FLEET,
    "Limits": _LIMITS,
    "The gateway": _GATEWAY,
    "The audit": _AUDIT,
    "The process": _PROCESS,
}
METRICS: Final[dict[str, Metric]] = {name: metric for group in GROUPS.values() for name, metric in group.items()}


def name_over_otlp(name: str) -> str:
    """A metric's name over OTLP, by its name in a scrape.

    That of the convention, where there is one. Own names are chosen so that a collector that writes them for Prometheus
    comes to those of a scrape: `ai_gateway.queue_wait` in seconds is `ai_gateway_queue_wait_seconds` there.
    """
    metric = METRICS[name]
    if metric.convention:
        return metric.convention
    room = "process" if name.startswith("process_") else "ai_gateway"
    thing = name.removeprefix(f"{room}_").removesuffix("_total").removesuffix(_SUFFIXES.get(metric.unit, ""))
    return f"{room}.{thing}"
