"""The types of `auth` and `callers` in config.yml: who is let in, and who may do what."""

from typing import Annotated, Literal

from msgspec import Meta

from ai_gateway.config.limits import RateLimits
from ai_gateway.config.units import FilePath, Seconds, Section, default
from ai_gateway.exchange import AuthMethod

Role = Literal["user", "admin"]
Route = Literal["chat", "completions", "embeddings", "models", "audit"]
KeyHeader = Literal["x-api-key", "api-key"]
Algorithm = Literal["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"]


class Oidc(Section, frozen=True):
    """Tokens of an OpenID Connect issuer; its keys come from the discovery document."""

    issuer: Annotated[str, Meta(min_length=1, description="URL of the issuer, exactly as its tokens name it in `iss`")]
    audience: Annotated[str, Meta(min_length=1, description="what its tokens must name in `aud`")]
    algorithms: Annotated[tuple[Algorithm, ...], Meta(min_length=1, description="signatures that are accepted")] = (
        "RS256",
        "ES256",
    )
    name_claim: Annotated[str, Meta(description="claim with the caller's name")] = "sub"
    groups_claim: Annotated[str, Meta(description="claim with the caller's groups, a list or one text")] = "groups"
    tenant_claim: Annotated[str | None, Meta(description="claim with the caller's tenant")] = None
    jwks_url: Annotated[
        str | None, Meta(description="where its keys are, in place of the discovery document's word")
    ] = None
    ca_file: Annotated[
        FilePath | None, Meta(description="CA bundle in PEM for the issuer, in place of the system's")
    ] = None
    token_file: Annotated[
        FilePath | None, Meta(description="token sent to the issuer, where it tells its keys only to whom it knows")
    ] = None
    refresh: Annotated[
        Seconds, Meta(description="between two looks at its keys; an unknown key is looked for at once")
    ] = default(Seconds(600))


class Auth(Section, frozen=True):
    """Who is let in. Several methods may be on together; a token's look says which of them it is for."""

    methods: Annotated[
        tuple[AuthMethod, ...],
        Meta(
            min_length=1,
            description="`none` lets everyone in, and stands alone. A section `auth` names its methods, always",
        ),
    ] = ("none",)
    keys_file: Annotated[
        FilePath | None, Meta(description="file that `ai-gateway keys` writes; read again when it changes")
    ] = None
    audience: Annotated[
        str, Meta(min_length=1, description="that ServiceAccount tokens must be made for (method `kubernetes`)")
    ] = "ai-gateway-ollama"
    oidc: Annotated[Oidc | None, Meta(description="the issuer, for method `oidc`")] = None
    headers: Annotated[
        tuple[KeyHeader, ...], Meta(description="headers that may hold a credential beside `Authorization`")
    ] = ()


class Match(Section, frozen=True):
    """Whom a rule is for: all that is named must fit. In a pattern `*` stands for any run of characters."""

    method: Annotated[AuthMethod | None, Meta(description="how the caller proved who it is")] = None

    serviceaccount: Annotated[
        str | None,
        Meta(description="NAMESPACE/NAME of a ServiceAccount of this cluster, a pattern; no `*` reaches over the `/`"),
    ] = None
    key: Annotated[str | None, Meta(description="name of a key, as a pattern")] = None
    group: Annotated[str | None, Meta(description="a group that a token names, as a pattern")] = None
    tenant: Annotated[str | None, Meta(description="tenant that a key or token names, as a pattern")] = None
    name: Annotated[str | None, Meta(description="the caller's name, as a pattern")] = None


ModelPatterns = tuple[Annotated[str, Meta(min_length=1, max_length=256)], ...]


class CallerRule(Section, frozen=True):
    """One entry of `callers`; the first whose `match` fits holds."""

    match: Match
    tenant: Annotated[
        Annotated[str, Meta(min_length=1)] | None, Meta(description="tenant of the caller, in place of its token's")
    ] = None
    models: Annotated[
        ModelPatterns | None, Meta(description="models it may use, as patterns of any of their names; not set: all")
    ] = None
    routes: Annotated[
        tuple[Route, ...] | None, Meta(description="routes it may use; not set: all that its role may")
    ] = None
    limits: Annotated[
        RateLimits | None, Meta(description="of each caller that it fits, in place of `limits.default`")
    ] = None
    role: Annotated[Role, Meta(description="`admin` may read audit logs and the detail of health")] = "user"


def is_on(auth: Auth) -> bool:
    """Whether callers have to prove who they are."""
    return auth.methods != ("none",)
