"""The types of config.yml, frozen. Defaults stand here and nowhere else, each with its unit and its reason.

`loading` reads and checks a file into these. A key marked *restart* is bound or opened once: a change
of it is accepted, but takes effect with the next start (`/v1/health` names it under `restart_required`).
"""

from typing import Annotated, Final, Literal

from msgspec import Meta

from ai_gateway.config.access import Auth, CallerRule
from ai_gateway.config.audit import AuditSection
from ai_gateway.config.limits import LimitsSection
from ai_gateway.config.serving import Connections, Cors, Tls
from ai_gateway.config.units import ByteCount, FilePath, ModelId, Pause, PositiveInt, Seconds, Section
from ai_gateway.config.units import default as _default

Slots = Annotated[int, Meta(ge=1, le=4096)]


class ModelTimeouts(Section, frozen=True):
    """Timeouts of one model, in place of those in `timeouts`."""

    connect: Seconds | None = None
    queue: Seconds | None = None
    first_byte: Seconds | None = None
    idle: Seconds | None = None
    total: Seconds | None = None
    stream: Seconds | None = None
    client_stall: Seconds | None = None
    heartbeat: Seconds | None = None


class Timeouts(Section, frozen=True):
    """How long the gateway waits, phase by phase; each may be set per model."""

    connect: Annotated[Seconds, Meta(description="for a TCP (and TLS) connection to an endpoint")] = _default(
        Seconds(2)
    )
    queue: Annotated[Seconds, Meta(description="for a free slot, in the model's queue")] = _default(Seconds(30))
    first_byte: Annotated[
        Seconds, Meta(description="for the first byte of a stream; a model may have to be loaded before it")
    ] = _default(Seconds(300))
    idle: Annotated[
        Seconds,
        Meta(description="between two chunks of a stream; Ollama is silent while it writes a tool call"),
    ] = _default(Seconds(300))
    total: Annotated[
        Seconds,
        Meta(description="for a whole answer; the patience that a client states goes before it, up to `stream`"),
    ] = _default(Seconds(600))
    stream: Annotated[Seconds, Meta(description="for a whole stream")] = _default(Seconds(1800))
    client_stall: Annotated[Seconds, Meta(description="until a client that reads nothing of its answer is cut off")] = (
        _default(Seconds(60))
    )
    heartbeat: Annotated[
        Seconds,
        Meta(description="of silence in a stream until an SSE comment keeps idle proxies from cutting it"),
    ] = _default(Seconds(15))


class Model(Section, frozen=True):
    """One entry of `models`; its key is the id that clients ask for."""

    ollama: Annotated[str | None, Meta(description="Ollama's name of the model, where it differs from the id")] = None
    version: Annotated[str, Meta(description="Ollama's tag")] = "latest"
    max_tokens: Annotated[
        PositiveInt | None, Meta(description="token limit of an answer when the request names none")
    ] = None
    aliases: Annotated[tuple[ModelId, ...], Meta(description="further ids for the same model")] = ()
    slots: Annotated[Slots | None, Meta(description="in place of `balancing.slots`")] = None
    max_waiting: Annotated[int, Meta(ge=0)] | None = None
    timeouts: ModelTimeouts = _default(ModelTimeouts())


class Catalog(Section, frozen=True):
    """Which models are served beside those in `models`."""

    discover: Annotated[
        bool,
        Meta(
            description="serve every local model that an endpoint lists under its Ollama name, never a cloud name; "
            "that of a model in `models` is the same model"
        ),
    ] = False


class StaticUpstream(Section, frozen=True):
    """An endpoint by its URL, with the CA that its certificate is checked against."""

    url: str
    ca_file: FilePath | None = None


PortNumber = Annotated[int, Meta(ge=1, le=65535)]


class Kubernetes(Section, frozen=True):
    """Endpoints from the Kubernetes API: Ollama pods by their labels, or the endpoint slices of a Service."""

    mode: Annotated[
        Literal["pods", "endpointslices"],
        Meta(description="pods tell more (their slots, labels); endpoint slices need no rights on pods"),
    ] = "pods"
    namespaces: Annotated[
        tuple[str, ...], Meta(description="where to look; none named: the gateway's own namespace")
    ] = ()
    label_selector: Annotated[str, Meta(description="of the pods; the usual Ollama chart sets this label")] = (
        "app.kubernetes.io/name=ollama"
    )
    service: Annotated[str | None, Meta(description="name of the Service; mode `endpointslices` needs it")] = None
    port_name: Annotated[str, Meta(description="Ollama's port by its name in the pod or Service")] = "http"
    port: Annotated[PortNumber, Meta(description="where no port has that name, or none is declared")] = 11434
    watch_timeout: Annotated[Seconds, Meta(description="until a watch is asked for anew, with 20 % jitter")] = _default(
        Seconds(300)
    )
    read_timeout: Annotated[
        Seconds,
        Meta(description="for a list; a watch that is silent so long after its end is given up as stalled"),
    ] = _default(Seconds(15))


class Dns(Section, frozen=True):
    """Endpoints from the addresses of a name, such as that of a headless Service."""

    name: Annotated[str, Meta(min_length=1, description="a host name; each of its addresses is an endpoint")]
    port: PortNumber = 11434
    interval: Annotated[Seconds, Meta(description="between two look-ups")] = _default(Seconds(5))


class Discovery(Section, frozen=True):
    """Where Ollama endpoints come from; one of these."""

    static: Annotated[tuple[str | StaticUpstream, ...] | None, Meta(description="a fixed list of URLs")] = None
    dns: Annotated[Dns | None, Meta(description="the addresses of a name")] = None
    kubernetes: Annotated[Kubernetes | None, Meta(description="pods or endpoint slices, through the API")] = None


class Drain(Section, frozen=True):
    """How the gateway leaves on SIGTERM."""

    delay: Annotated[
        Pause | None,
        Meta(
            description="that new requests are still served, until Services have noticed; without it 10 s in a "
            "cluster, none elsewhere and on loopback"
        ),
    ] = None
    grace: Annotated[
        Pause, Meta(description="then for running answers, until they are ended with `server_shutdown`")
    ] = _default(Pause(300))


class Balancing(Section, frozen=True):
    """How calls are spread over endpoints."""

    slots: Annotated[
        Slots,
        Meta(description="calls at a time per model and endpoint; Ollama's own default of OLLAMA_NUM_PARALLEL is 1"),
    ] = 1
    retry_budget: Annotated[
        float,
        Meta(ge=0, le=1, description="retries under way, as a share of calls under way (never below 3)"),
    ] = 0.2


class Queue(Section, frozen=True):
    """The queue that each model has."""

    max_waiting: Annotated[
        int, Meta(ge=0, description="calls that may wait per model; one more is refused with queue_full")
    ] = 100


class Polling(Section, frozen=True):
    """How often endpoints are asked for their state."""

    interval: Annotated[
        Seconds, Meta(description="between two looks at /api/version and /api/ps, with 20 % jitter")
    ] = _default(Seconds(2))
    models_interval: Annotated[Seconds, Meta(description="between two looks at /api/tags")] = _default(Seconds(10))
    timeout: Annotated[Seconds, Meta(description="for /api/version and /api/tags")] = _default(Seconds(5))
    residents_timeout: Annotated[
        Seconds, Meta(description="for /api/ps, which Ollama can hold back 5 s while it unloads a model")
    ] = _default(Seconds(8))


class Body(Section, frozen=True):
    """Limits on request bodies, and on whole answers."""

    max_bytes: Annotated[ByteCount, Meta(description="one body; larger ones get 413")] = _default(ByteCount(20 << 20))
    max_answer_bytes: Annotated[
        ByteCount, Meta(description="one whole answer, a stream's apart; instead of a larger one 502 answer_too_large")
    ] = _default(ByteCount(32 << 20))
    buffered_bytes: Annotated[
        ByteCount,
        Meta(description="all bodies and whole answers held at one time; above it calls get 503 buffers_full"),
    ] = _default(ByteCount(64 << 20))
    timeout: Annotated[
        Seconds,
        Meta(description="for all of a body to come; 256 KiB of it, or its rest, must come every 30 s. Else 408"),
    ] = _default(Seconds(300))


class Compatibility(Section, frozen=True):
    """Options for clients with habits of their own."""

    reasoning_content: Annotated[
        bool,
        Meta(description="also send Ollama's `reasoning` as `reasoning_content`, as some clients read it"),
    ] = False


LogLevel = Literal["debug", "info", "warning", "error"]
LogName = Literal[
    "audit",
    "auth",
    "balancing",
    "cluster",
    "config",
    "demo",
    "discovery",
    "limits",
    "polling",
    "rescue",
    "server",
    "telemetry",
]  # the loggers that there are, without their common prefix


class Log(Section, frozen=True):
    """What is written to the log; a change holds from the next line on."""

    level: Annotated[LogLevel, Meta(description="the least level that is written")] = "info"
    levels: Annotated[
        dict[LogName, LogLevel], Meta(description="in place of `level` for one part, such as `{discovery: debug}`")
    ] = _default({})
    access: Annotated[bool, Meta(description="one line per request on standard output, after its end")] = True


class Config(Section, frozen=True):
    """config.yml as a whole."""

    models: dict[ModelId, Model] = _default({})
    catalog: Catalog = _default(Catalog())
    discovery: Discovery | None = None
    timeouts: Timeouts = _default(Timeouts())
    balancing: Balancing = _default(Balancing())
    queue: Queue = _default(Queue())
    polling: Polling = _default(Polling())
    body: Body = _default(Body())
    limits: Annotated[
        LimitsSection | None, Meta(description="how much may be asked for. `none`, `{}`, or not set: there is no limit")
    ] = None
    cors: Cors = _default(Cors())
    hosts: Annotated[
        tuple[str, ...],
        Meta(
            description="further names that a gateway without authentication answers to when it listens on loopback, "
            'such as `gateway.test` or `*.example.com`; "*" is every name'
        ),
    ] = ()
    connections: Connections = _default(Connections())
    tls: Annotated[Tls | None, Meta(description="HTTPS on the API port. `none`, or not set: plain HTTP. *restart*")] = (
        None
    )
    auth: Auth = _default(Auth())
    callers: Annotated[
        tuple[CallerRule, ...] | None,
        Meta(description="who may do what; whom none fits is refused. `all`, or not set: all known callers are let in"),
    ] = None
    trusted_proxies: Annotated[
        tuple[str, ...],
        Meta(description="addresses or networks whose X-Forwarded-For is believed, with or without ports"),
    ] = ()
    compatibility: Compatibility = _default(Compatibility())
    drain: Drain = _default(Drain())
    log: Log = _default(Log())
    audit: AuditSection = _default(AuditSection())
    listen: Annotated[str | None, Meta(description="HOST:PORT of the API; a flag goes before it. *restart*")] = None
    admin: Annotated[
        str | None, Meta(description="HOST:PORT of /livez and /readyz; a flag goes before it. *restart*")
    ] = None


RESTART_KEYS: Final = ("listen", "admin", "tls", "drain", "audit")


def restart_required(started: Config, current: Config) -> list[str]:
    """Paths whose change takes effect only with a restart; `tls` files that change in place are not among them."""
    return [key for key in RESTART_KEYS if getattr(started, key) != getattr(current, key)]


def model_name(model_id: str, model: Model) -> str:
    """Ollama's name with its tag, as it is sent upstream."""
    name = model.ollama or model_id
    return name if ":" in name.rpartition("/")[2] else f"{name}:{model.version}"
