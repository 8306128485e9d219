"""The frozen types of config.yml, with the defaults, each with its unit and reason. Larger parts have their own files.

`loading` reads a file into these types. The gateway binds or opens a key marked *restart* once. It accepts a change of
such a key, but applies it with the next start (`/v1/health` names it under `restart_required`).
"""

from typing import Annotated, Final, Literal

from msgspec import Meta

from ai_gateway.config.access import Auth, CallerRule
from ai_gateway.config.audit import AuditSection
from ai_gateway.config.balancing import Balancing, Policy, Polling, Queue, Slots
from ai_gateway.config.limits import LimitsSection
from ai_gateway.config.log import Log
from ai_gateway.config.reconcile import Copies, Parameters, Pull, Reconcile
from ai_gateway.config.serving import Connections, Cors, Tls
from ai_gateway.config.units import ByteCount, FilePath, KeepAlive, ModelId, Pause, PositiveInt, Seconds, Section
from ai_gateway.config.units import default as _default


class ModelTimeouts(Section, frozen=True):
    """Timeouts of one model. Each key overrides the same key of `timeouts`."""

    connect: Seconds | None = None
    queue: Seconds | None = None
    load: Seconds | None = None
    first_byte: Seconds | None = None
    idle: Seconds | None = None
    total: Seconds | None = None
    stream: Seconds | None = None
    client_stall: Seconds | None = None
    heartbeat: Seconds | None = None


class Timeouts(Section, frozen=True):
    """How long the gateway waits in each phase of a call. You can also set each one per model."""

    connect: Annotated[Seconds, Meta(description="longest wait for a TCP (and TLS) connection")] = _default(Seconds(2))
    queue: Annotated[
        Seconds, Meta(description="longest wait in the model's queue for a slot, while the model is loaded somewhere")
    ] = _default(Seconds(30))
    load: Annotated[
        Seconds, Meta(description="longest wait for the model's load, while it is loaded nowhere; else model_loading")
    ] = _default(Seconds(300))
    first_byte: Annotated[Seconds, Meta(description="longest wait for the first byte of a stream")] = _default(
        Seconds(300)
    )
    idle: Annotated[
        Seconds, Meta(description="longest silence between two chunks; Ollama is silent while it writes a tool call")
    ] = _default(Seconds(300))
    total: Annotated[
        Seconds,
        Meta(description="longest time for a whole answer; a client's own timeout overrides it, up to `stream`"),
    ] = _default(Seconds(600))
    stream: Annotated[Seconds, Meta(description="longest time for a whole stream")] = _default(Seconds(1800))
    client_stall: Annotated[
        Seconds, Meta(description="the gateway cuts a client off if it reads nothing of its answer for this long")
    ] = _default(Seconds(60))
    heartbeat: Annotated[
        Seconds,
        Meta(description="after this much silence in a stream an SSE comment keeps idle proxies from cutting it"),
    ] = _default(Seconds(15))


class Model(Section, frozen=True):
    """One entry of `models`; its key is the id that clients ask for."""

    ollama: Annotated[str | None, Meta(description="Ollama's name of the model, if it differs from the id")] = None
    version: Annotated[str, Meta(description="Ollama's tag")] = "latest"
    max_tokens: Annotated[PositiveInt | None, Meta(description="token limit of an answer if the request sets none")] = (
        None
    )
    aliases: Annotated[tuple[ModelId, ...], Meta(description="further ids for the same model")] = ()
    slots: Annotated[Slots | None, Meta(description="overrides `balancing.slots` for this model")] = None
    max_waiting: Annotated[int, Meta(ge=0)] | None = None
    policy: Annotated[Policy | None, Meta(description="overrides `balancing.policy` for this model")] = None
    resident: Annotated[
        int,
        Meta(
            ge=0,
            le=4096,
            description="copies of the model that the gateway keeps loaded, with or without calls; as many as there is "
            "room for. Needs the policy `warm`",
        ),
    ] = 0
    keep_alive: Annotated[
        KeepAlive | None,
        Meta(
            description="how long Ollama keeps the model after its last call, as in Ollama's API: `10m`, or `-1` for "
            "ever. The gateway sends it with its loads. Not set: the endpoint's own OLLAMA_KEEP_ALIVE"
        ),
    ] = None
    pull: Annotated[
        Pull | None, Meta(description="whether the model is pulled where it is missing; overrides `reconcile.pull`")
    ] = None
    copies: Annotated[
        Copies | None,
        Meta(
            description="on how many matching endpoints the model is installed. Not set: on those that list it and new "
            "pods of their workload; on all matching ones where none does"
        ),
    ] = None
    endpoints: Annotated[
        dict[str, str], Meta(description="labels that a pod must have to get the model, such as `{gpu: large}`")
    ] = _default({})
    parameters: Annotated[
        Parameters,
        Meta(description="Ollama's parameters of the model; a request's own `temperature` and so on go before them"),
    ] = _default(Parameters())
    system: Annotated[
        Annotated[str, Meta(min_length=1, max_length=32768)] | None,
        Meta(description="the system message of calls that bring none"),
    ] = None
    timeouts: ModelTimeouts = _default(ModelTimeouts())


class Catalog(Section, frozen=True):
    """Which models the gateway serves in addition to those in `models`."""

    discover: Annotated[
        bool,
        Meta(
            description="also serve every local model that an endpoint lists, under Ollama's name; never a cloud "
            "model. If `models` has the same model, both names mean that one"
        ),
    ] = False


class StaticUpstream(Section, frozen=True):
    """One endpoint: its URL, and the CA for its certificate."""

    url: str
    ca_file: FilePath | None = None


PortNumber = Annotated[int, Meta(ge=1, le=65535)]


class Kubernetes(Section, frozen=True):
    """Endpoints from the Kubernetes API: Ollama pods by their labels, or the endpoint slices of a Service."""

    mode: Annotated[
        Literal["pods", "endpointslices"],
        Meta(description="`pods` shows the gateway more (slots, labels); `endpointslices` needs no rights on pods"),
    ] = "pods"
    namespaces: Annotated[tuple[str, ...], Meta(description="where to look; empty: the gateway's own namespace")] = ()
    label_selector: Annotated[
        str, Meta(description="which pods are Ollama; the usual Ollama chart sets this label")
    ] = "app.kubernetes.io/name=ollama"
    service: Annotated[str | None, Meta(description="name of the Service; required in mode `endpointslices`")] = None
    port_name: Annotated[str, Meta(description="name of Ollama's port in the pod or Service")] = "http"
    port: Annotated[PortNumber, Meta(description="Ollama's port, if none has that name or is declared")] = 11434
    watch_timeout: Annotated[
        Seconds, Meta(description="the gateway renews a watch after this time, with 20 % jitter")
    ] = _default(Seconds(300))
    read_timeout: Annotated[
        Seconds,
        Meta(description="longest wait for a list; a watch that is silent this long after its end counts as stalled"),
    ] = _default(Seconds(15))


class Dns(Section, frozen=True):
    """Endpoints from the addresses of a host name, such as a headless Service's."""

    name: Annotated[str, Meta(min_length=1, description="a host name; each of its addresses is an endpoint")]
    port: PortNumber = 11434
    interval: Annotated[Seconds, Meta(description="time between two look-ups")] = _default(Seconds(5))


class Discovery(Section, frozen=True):
    """Where Ollama endpoints come from. Set one of these."""

    static: Annotated[tuple[str | StaticUpstream, ...] | None, Meta(description="a fixed list of URLs")] = None
    dns: Annotated[Dns | None, Meta(description="the addresses of a host name")] = None
    kubernetes: Annotated[Kubernetes | None, Meta(description="pods or endpoint slices, from the API server")] = None


class Drain(Section, frozen=True):
    """How the gateway shuts down on SIGTERM."""

    delay: Annotated[
        Pause | None,
        Meta(
            description="how long the gateway still takes new requests, so that Services notice. Default: 10 s in a "
            "cluster, 0 elsewhere and on loopback"
        ),
    ] = None
    grace: Annotated[
        Pause, Meta(description="how long running answers may then go on; after that they end with `server_shutdown`")
    ] = _default(Pause(300))


class Body(Section, frozen=True):
    """Size limits of request bodies and of whole answers."""

    max_bytes: Annotated[ByteCount, Meta(description="a request body; a larger one gets 413")] = _default(
        ByteCount(20 << 20)
    )
    max_answer_bytes: Annotated[
        ByteCount, Meta(description="a whole answer, not a stream; in place of a larger one: 502 answer_too_large")
    ] = _default(ByteCount(32 << 20))
    buffered_bytes: Annotated[
        ByteCount,
        Meta(description="all bodies and whole answers in memory at a time; above it calls get 503 buffers_full"),
    ] = _default(ByteCount(64 << 20))
    timeout: Annotated[
        Seconds, Meta(description="longest time for a whole body. Each 30 s must bring 256 KiB, or the rest. Else 408")
    ] = _default(Seconds(300))


class Compatibility(Section, frozen=True):
    """Options for clients with special needs."""

    endpoint_header: Annotated[
        bool,
        Meta(
            description="answers tell in `x-ai-gateway-endpoint` which endpoint made them, to whom /v1/health would too"
        ),
    ] = False
    reasoning_content: Annotated[
        bool, Meta(description="also send Ollama's `reasoning` as `reasoning_content`; some clients read only that")
    ] = False


class Config(Section, frozen=True):
    """config.yml as a whole."""

    models: dict[ModelId, Model] = _default({})
    reconcile: Reconcile = _default(Reconcile())
    catalog: Catalog = _default(Catalog())
    discovery: Discovery | None = None
    timeouts: Timeouts = _default(Timeouts())
    balancing: Balancing = _default(Balancing())
    queue: Queue = _default(Queue())
    polling: Polling = _default(Polling())
    body: Body = _default(Body())
    limits: Annotated[
        LimitsSection | None,
        Meta(description="how much callers, tenants and models may use. `none`, `{}`, or not set: no limit"),
    ] = None
    cors: Cors = _default(Cors())
    hosts: Annotated[
        tuple[str, ...],
        Meta(
            description="further host names that the gateway answers to, such as `gateway.test` or `*.example.com`. "
            'It checks them only without authentication and on loopback; "*" is every name'
        ),
    ] = ()
    connections: Connections = _default(Connections())
    tls: Annotated[Tls | None, Meta(description="HTTPS on the API port. `none`, or not set: plain HTTP. *restart*")] = (
        None
    )
    auth: Auth = _default(Auth())
    callers: Annotated[
        tuple[CallerRule, ...] | None,
        Meta(
            description="who may do what; a caller with neither a matching rule nor a key gets 403. `all`, or not "
            "set: all known callers may call"
        ),
    ] = None
    trusted_proxies: Annotated[
        tuple[str, ...],
        Meta(
            description="addresses or networks of proxies; the gateway believes their X-Forwarded-For (ports are fine)"
        ),
    ] = ()
    compatibility: Compatibility = _default(Compatibility())
    drain: Drain = _default(Drain())
    log: Log = _default(Log())
    audit: AuditSection = _default(AuditSection())
    listen: Annotated[str | None, Meta(description="HOST:PORT of the API; `--listen` overrides it *restart*")] = None
    admin: Annotated[
        str | None, Meta(description="HOST:PORT of /livez and /readyz; `--admin` overrides it *restart*")
    ] = None


RESTART_KEYS: Final = ("listen", "admin", "tls", "drain", "audit")


def restart_required(started: Config, current: Config) -> list[str]:
    """Keys whose change needs a restart. TLS files that change in place are not among them."""
    return [key for key in RESTART_KEYS if getattr(started, key) != getattr(current, key)]


def model_name(model_id: str, model: Model) -> str:
    """Ollama's name with its tag, as the gateway sends it upstream."""
    name = model.ollama or model_id
    return name if ":" in name.rpartition("/")[2] else f"{name}:{model.version}"
