"""The types of `auth` and `callers` in config.yml: who may call, and what each caller may do."""

from typing import TYPE_CHECKING, Annotated, Literal

from msgspec import Meta

from ai_gateway.config.limits import RateLimits
from ai_gateway.config.units import FilePath, Seconds, Section, default
from ai_gateway.exchange import AuthMethod
from ai_gateway.wire.operations import OPERATIONS

Role = Literal["user", "admin"]
Priority = Literal["interactive", "batch"]
KeyHeader = Literal["x-api-key", "api-key"]
Algorithm = Literal["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"]

ROUTES = (*OPERATIONS, "models", "audit")
if TYPE_CHECKING:
    Route = str
else:
    Route = Literal[ROUTES]


class Oidc(Section, frozen=True):
    """Tokens of an OpenID Connect issuer. Its discovery document says where its keys are."""

    issuer: Annotated[str, Meta(min_length=1, description="URL of the issuer, exactly as its tokens name it in `iss`")]
    audience: Annotated[str, Meta(min_length=1, description="audience that its tokens must have in `aud`")]
    algorithms: Annotated[
        tuple[Algorithm, ...], Meta(min_length=1, description="signature algorithms that the gateway accepts")
    ] = (
        "RS256",
        "ES256",
    )
    name_claim: Annotated[str, Meta(description="claim with the caller's name")] = "sub"
    groups_claim: Annotated[str, Meta(description="claim with the caller's groups, a list or one text")] = "groups"
    tenant_claim: Annotated[str | None, Meta(description="claim with the caller's tenant")] = None
    jwks_url: Annotated[str | None, Meta(description="where its keys are; overrides the discovery document")] = None
    ca_file: Annotated[FilePath | None, Meta(description="CA bundle in PEM for the issuer; replaces the system's")] = (
        None
    )
    token_file: Annotated[
        FilePath | None, Meta(description="token that the gateway sends to the issuer, if the issuer protects its keys")
    ] = None
    refresh: Annotated[
        Seconds, Meta(description="time between two fetches of its keys; the gateway looks for an unknown key at once")
    ] = default(Seconds(600))


class Auth(Section, frozen=True):
    """Who may call. You can turn on several methods; the form of a token tells which one it is for."""

    methods: Annotated[
        tuple[AuthMethod, ...],
        Meta(
            min_length=1,
            description="`none` lets everyone in, and must stand alone. A section `auth` must name its methods",
        ),
    ] = ("none",)
    keys_file: Annotated[
        FilePath | None,
        Meta(description="file that `ai-gateway keys` writes; the gateway reads it again when it changes"),
    ] = None
    audience: Annotated[
        str, Meta(min_length=1, description="audience that ServiceAccount tokens must have (method `kubernetes`)")
    ] = "ai-gateway-ollama"
    oidc: Annotated[Oidc | None, Meta(description="the issuer, for method `oidc`")] = None
    headers: Annotated[
        tuple[KeyHeader, ...], Meta(description="headers that may carry a credential, in addition to `Authorization`")
    ] = ()


class Match(Section, frozen=True):
    """Which callers a rule is for: every key that you set must match. In a pattern `*` stands for any characters."""

    method: Annotated[AuthMethod | None, Meta(description="how the caller proved who it is")] = None

    serviceaccount: Annotated[
        str | None,
        Meta(description="NAMESPACE/NAME of a ServiceAccount of this cluster, as a pattern; `*` never matches the `/`"),
    ] = None
    key: Annotated[str | None, Meta(description="name of an API key, as a pattern")] = None
    group: Annotated[str | None, Meta(description="group that a token names, as a pattern")] = None
    tenant: Annotated[str | None, Meta(description="tenant that a key or token names, as a pattern")] = None
    name: Annotated[str | None, Meta(description="the caller's name, as a pattern")] = None


ModelPatterns = tuple[Annotated[str, Meta(min_length=1, max_length=256)], ...]


class CallerRule(Section, frozen=True):
    """One entry of `callers`. The first rule that matches applies."""

    match: Match
    tenant: Annotated[
        Annotated[str, Meta(min_length=1)] | None,
        Meta(description="tenant of the caller; overrides the one in its token"),
    ] = None
    models: Annotated[
        ModelPatterns | None, Meta(description="models it may use, as patterns for any of their names; not set: all")
    ] = None
    routes: Annotated[
        tuple[Route, ...] | None, Meta(description="routes it may use; not set: all that its role allows")
    ] = None
    limits: Annotated[
        RateLimits | None, Meta(description="limits of each caller that it matches; they replace `limits.default`")
    ] = None
    priority: Annotated[
        Priority,
        Meta(
            description="`batch`: its calls wait behind interactive ones, for 30 s at most. A caller may lower its own "
            "calls with the header `x-ai-gateway-priority: batch`, and never raise them"
        ),
    ] = "interactive"
    role: Annotated[Role, Meta(description="`admin` may read audit logs and the details of /v1/health")] = "user"


def is_on(auth: Auth) -> bool:
    """Whether callers have to prove who they are."""
    return auth.methods != ("none",)
