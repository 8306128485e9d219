"""The section `limits` of config.yml: how much callers, tenants and models may use, and where the gateway counts it."""

import re
from collections.abc import Container, Iterator
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from ai_gateway.config.units import FilePath, ModelId, PositiveInt, Seconds, Section, default
from ai_gateway.wire.hosts import split_url

LimitCount = Annotated[
    PositiveInt, Meta(le=10**12)
]  # more is a typing mistake, and float arithmetic stays exact below it
Name = Annotated[str, Meta(min_length=1, max_length=256)]

_DATABASE: Final = re.compile(r"/?|/[0-9]{1,6}")


class RateLimits(Section, frozen=True):
    """Limits of one caller, tenant or model. A key that you do not set is no limit."""

    rpm: Annotated[LimitCount | None, Meta(description="calls per minute; that many may come at once")] = None
    tpm: Annotated[LimitCount | None, Meta(description="tokens per minute, of prompts and answers")] = None
    concurrent: Annotated[
        LimitCount | None, Meta(description="calls at a time, including those that wait for a slot")
    ] = None
    tokens_per_day: Annotated[LimitCount | None, Meta(description="tokens per day (UTC)")] = None


class Redis(Section, frozen=True):
    """A Redis or Valkey in which all gateways count together."""

    url: Annotated[str, Meta(description="`redis://HOST:PORT/NUMBER`, or `rediss://` for TLS; never with a password")]
    username: Annotated[str | None, Meta(description="ACL user, if Redis has one")] = None
    password_file: Annotated[
        FilePath | None, Meta(description="file with the password; the gateway reads it for each connection")
    ] = None
    ca_file: Annotated[
        FilePath | None, Meta(description="CA bundle in PEM for its certificate; replaces the system's")
    ] = None
    timeout: Annotated[
        Seconds, Meta(description="longest wait for one check; after that the gateway's own counts decide")
    ] = default(Seconds(0.05))
    prefix: Annotated[
        Name, Meta(description="prefix of all its keys; gateways with the same prefix count together")
    ] = "ai-gateway"


class LimitsSection(Section, frozen=True):
    """How much callers, tenants and models may use. Every limit that applies to a call must admit it."""

    default: Annotated[
        RateLimits | None,
        Meta(
            description="limits of each caller without limits of its own; a caller without a name is known by "
            "its address"
        ),
    ] = None
    tenants: Annotated[dict[Name, RateLimits], Meta(description="limits of all callers of a tenant together")] = (
        msgspec.field(default_factory=dict)
    )
    models: Annotated[
        dict[ModelId, RateLimits],
        Meta(description="limits of all calls of a model together, by its id, whatever name a call uses"),
    ] = msgspec.field(default_factory=dict)
    redis: Annotated[
        Redis | None,
        Meta(description="where all gateways count together; without it each gateway counts its share in memory"),
    ] = None


def limits_reasons(
    section: LimitsSection | None, models: Container[str], are_discovered: bool
) -> Iterator[tuple[str, str]]:
    """Checks that the types cannot make: path and reason. `are_discovered`: the gateway also serves other models."""
    if section is None:
        return
    for model_id in section.models:
        if model_id not in models and not are_discovered:
            yield f"limits.models.{model_id}", "is not a model id in `models`; for an alias, use the id of its model"
    if section.redis is not None:
        yield from _redis_reasons(section.redis)


def _redis_reasons(redis: Redis) -> Iterator[tuple[str, str]]:
    if "@" in redis.url:
        yield "limits.redis.url", "contains a user name or password: use `username` and `password_file`"
        return
    try:
        parts = split_url(redis.url, ("redis", "rediss"))
    except ValueError as error:
        yield "limits.redis.url", f"is not a URL such as redis://redis.ai:6379: {error}"
        return
    if not _DATABASE.fullmatch(parts.path) or not redis.url.startswith(("redis://", "rediss://")):
        yield "limits.redis.url", "is not a URL such as redis://redis.ai:6379 or rediss://redis.ai:6379/0"
    if redis.ca_file and parts.scheme != "rediss":
        yield "limits.redis.ca_file", "applies only to a rediss:// URL"
