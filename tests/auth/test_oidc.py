"""Tokens of an issuer, signed with keys made here; tests/kubernetes asks a real issuer."""

import json
from typing import Any

import jwt
import msgspec
import pytest
from tests.auth.tokens import AUDIENCE, DAY, ISSUER, NOW, Key, jwks, new_key, public, token, unsigned

from ai_gateway.auth.identity import Identity, Unavailable
from ai_gateway.auth.oidc import DISCOVERY, SHORTEST_REFRESH_SECONDS, FetchFailure, Issuer, read_keys
from ai_gateway.config.access import Oidc

KEY, OTHER = new_key(), new_key()
CURVE = new_key("ES256")
KEYS_URL = ISSUER + "/keys"


class _World:
    """An issuer, and how its documents are fetched."""

    def __init__(self, **more: Any) -> None:
        settings = msgspec.convert({"issuer": ISSUER, "audience": AUDIENCE, **more}, Oidc, strict=False)
        self.now = 0.0
        self.wall = float(NOW)
        self.documents = {
            ISSUER + DISCOVERY: json.dumps({"issuer": ISSUER, "jwks_uri": KEYS_URL}).encode(),
            KEYS_URL: jwks(public(KEY, "k1"), public(CURVE, "c1")),
        }
        self.fetched: list[str] = []
        self.issuer = Issuer(settings, self._fetch, lambda: self.now, lambda: self.wall)

    async def _fetch(self, url: str) -> bytes:
        self.fetched.append(url)
        if url not in self.documents:
            raise FetchFailure(f"{url} answered 404")
        return self.documents[url]

    async def ask(self, shown: bytes) -> Identity | None:
        """As the authenticator does."""
        return await self.issuer.identify(shown) if self.issuer.fits(shown) else None


async def test_a_token_tells_name_groups_and_tenant_by_the_claims_that_the_config_names() -> None:
    world = _World(name_claim="email", groups_claim="roles", tenant_claim="org")
    found = await world.ask(token(KEY, email="a@example.org", roles=["staff", 7], org="red"))
    assert found == Identity("a@example.org", "oidc", "red", ("staff",))
    plain = await _World().ask(token(KEY, groups="staff"))
    assert plain == Identity("someone", "oidc", None, ("staff",))
    assert await world.ask(token(KEY)) is None  # without the claim that names it


@pytest.mark.parametrize(("key", "kid", "algorithm"), [(KEY, "k1", "RS256"), (CURVE, "c1", "ES256")])
async def test_signatures_on_the_list_are_accepted(key: Key, kid: str, algorithm: str) -> None:
    assert await _World().ask(token(key, kid, algorithm)) is not None


def _confused() -> bytes:
    """Signed with the public key as if it were a shared secret: PyJWT itself refuses to make one."""
    import base64
    import hashlib
    import hmac

    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    pem = KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    head, claims, _ = unsigned({"alg": "HS256", "kid": "k1"}).split(b".")
    digest = hmac.new(pem, head + b"." + claims, hashlib.sha256).digest()
    return head + b"." + claims + b"." + base64.urlsafe_b64encode(digest).rstrip(b"=")


@pytest.mark.parametrize(
    "shown",
    [
        pytest.param(token(OTHER), id="another key"),
        pytest.param(token(KEY, "k2"), id="a kid that is not known"),
        pytest.param(token(KEY, "../k1"), id="a kid with a path"),
        pytest.param(token(KEY, None), id="no kid among several keys"),
        pytest.param(token(KEY, algorithm="RS512"), id="an algorithm that is not on the list"),
        pytest.param(token(KEY, "c1"), id="another key's kid"),
        pytest.param(unsigned({"alg": "none", "kid": "k1"}), id="alg none"),
        pytest.param(unsigned({"alg": "RS256", "kid": "k1"}), id="a made-up signature"),
        pytest.param(unsigned({"alg": "RS256", "kid": ["k1"]}), id="a kid that is a list"),
        pytest.param(_confused(), id="the public key as a secret"),
        pytest.param(token(KEY, exp=NOW - 60), id="over"),
        pytest.param(token(KEY, exp=None), id="without an end"),
        pytest.param(token(KEY, nbf=NOW + DAY), id="not yet"),
        pytest.param(token(KEY, aud="other"), id="another audience"),
        pytest.param(token(KEY, aud=None), id="no audience"),
        pytest.param(token(KEY, iss="https://other.example"), id="another issuer"),
        pytest.param(token(KEY, iss=ISSUER + "/"), id="an issuer that is not the same to the letter"),
        pytest.param(token(KEY, sub=""), id="no name"),
        pytest.param(token(KEY)[:-4] + b"AAAA", id="a changed signature"),
        pytest.param(b"a.b.c", id="nonsense"),
        pytest.param(token(KEY) + b".x", id="four parts"),
    ],
)
async def test_what_is_not_proved_is_nobodys(shown: bytes) -> None:
    assert await _World().ask(shown) is None


async def test_a_key_from_the_tokens_own_head_is_never_looked_at() -> None:
    told = {
        "jku": "https://evil.example/keys",
        "x5u": "https://evil.example/x",
        "jwk": public(OTHER, "k1"),
        "kid": "k1",
    }
    claims = jwt.decode(token(OTHER), options={"verify_signature": False})
    world = _World()
    assert await world.ask(jwt.encode(claims, OTHER, algorithm="RS256", headers=told).encode()) is None
    assert all(url.startswith(ISSUER) for url in world.fetched)


async def test_a_rotated_key_is_found_at_once_and_the_old_one_fails_with_the_next_look() -> None:
    world = _World()
    assert await world.ask(token(KEY)) is not None
    world.documents[KEYS_URL] = jwks(public(OTHER, "k9"))
    world.now = SHORTEST_REFRESH_SECONDS
    assert await world.ask(token(OTHER, "k9")) is not None
    assert await world.ask(token(KEY, jti="new")) is None


async def test_a_flood_of_unknown_key_ids_asks_the_issuer_once_in_ten_seconds() -> None:
    world = _World()
    for number in range(50):
        assert await world.ask(token(KEY, f"unknown-{number}")) is None
    assert world.fetched.count(KEYS_URL) == 1
    world.now = SHORTEST_REFRESH_SECONDS
    await world.ask(token(KEY, "unknown"))
    assert world.fetched.count(KEYS_URL) == 2


async def test_an_issuer_that_is_away_keeps_its_keys_and_one_never_seen_is_no_refusal() -> None:
    world = _World()
    documents, world.documents = world.documents, {}
    with pytest.raises(Unavailable):
        await world.ask(token(KEY))
    assert world.issuer.reason is not None
    world.documents, world.now = documents, SHORTEST_REFRESH_SECONDS
    assert await world.ask(token(KEY)) is not None
    assert str(world.issuer.reason) == "None"
    world.documents, world.now = {}, 10_000.0
    assert await world.ask(token(KEY, jti="later")) is not None


async def test_a_remembered_token_is_over_when_its_time_is() -> None:
    world, shown = _World(), token(KEY)
    assert await world.issuer.identify(shown) is not None
    world.wall += DAY + 60
    assert await world.issuer.identify(shown) is None


@pytest.mark.parametrize(
    "document",
    [
        *(b"", b"[]", b"{", b"{}", b'{"issuer": "https://other.example", "jwks_uri": "https://issuer.example/keys"}'),
        json.dumps({"issuer": ISSUER, "jwks_uri": "http://issuer.example/keys"}).encode(),
        json.dumps({"issuer": ISSUER, "jwks_uri": "file:///etc/passwd"}).encode(),
        json.dumps({"issuer": ISSUER, "jwks_uri": 7}).encode(),
    ],
)
async def test_a_discovery_document_that_is_not_the_issuers_is_not_believed(document: bytes) -> None:
    world = _World()
    world.documents[ISSUER + DISCOVERY] = document
    with pytest.raises(Unavailable):
        await world.ask(token(KEY))
    assert KEYS_URL not in world.fetched


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"[]", b'{"keys": 7}', b"{}", b"[" * 5000),
    ],
)
def test_what_is_no_jwks_is_refused(body: bytes) -> None:
    with pytest.raises(FetchFailure):
        read_keys(body)


async def test_an_issuer_that_withdraws_all_its_keys_is_obeyed() -> None:
    world = _World()
    assert await world.ask(token(KEY)) is not None
    world.documents[KEYS_URL], world.now = jwks(), 600.0
    assert await world.ask(token(KEY, jti="later")) is None


async def test_a_key_that_is_odd_stands_in_nobodys_way() -> None:
    world = _World()
    odd = (public(OTHER, "x", alg="none"), {"kty": "RSA", "kid": "k1", "n": "!", "e": "AQAB"}, {"kty": "EC"})
    world.documents[KEYS_URL] = jwks(*odd, public(KEY, "k1"), public(OTHER, "e", use="enc"))
    assert await world.ask(token(KEY)) is not None
    assert await world.ask(token(OTHER, "x")) is None
    assert await world.ask(token(OTHER, "e")) is None


@pytest.mark.parametrize("algorithm", ["RS256", "RS512", "PS256"])
async def test_a_key_that_names_no_algorithm_serves_all_that_are_on_the_list(algorithm: str) -> None:
    world = _World(algorithms=["RS256", "RS512", "PS256"])
    told = public(KEY, "k1")
    told.pop("alg", None)
    world.documents[KEYS_URL] = jwks(public(OTHER, "k1"), told)  # and two keys with one name are both tried
    assert await world.ask(token(KEY, "k1", algorithm)) is not None


@pytest.mark.parametrize("name", ["a\nb", "", "x" * 257, 7, None, ["a"]])
async def test_a_name_that_no_log_could_show_is_none(name: object) -> None:
    assert await _World(name_claim="who").ask(token(KEY, who=name)) is None


async def test_nobody_becomes_somebody_of_kubernetes_by_a_claim_that_people_choose() -> None:
    taken = "system:serviceaccount:team-a:web"
    assert await _World(name_claim="nick").ask(token(KEY, nick=taken)) is None
    found = await _World(tenant_claim="org").ask(token(KEY, sub=taken, groups=["system:masters", "a"], org="system:x"))
    assert found == Identity(taken, "oidc", None, ("a",))


async def test_one_key_without_a_kid_serves_tokens_without_one() -> None:
    world = _World(jwks_url=KEYS_URL)
    world.documents = {KEYS_URL: jwks(public(KEY, None))}
    assert await world.ask(token(KEY, None)) is not None
