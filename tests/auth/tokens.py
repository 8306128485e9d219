"""An issuer to test with: keys made on the spot, tokens signed with them, and its two documents."""

import base64
import json
import time
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

ISSUER = "https://issuer.example"
AUDIENCE = "ai-gateway-ollama"
DAY = 86_400
NOW = int(time.time())  # by the clocks of all worlds here, which stand still unless a test moves them

Key = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey


def new_key(kind: str = "RS256") -> Key:
    """A private key for one kind of signature."""
    if kind.startswith("ES"):
        return ec.generate_private_key(ec.SECP256R1())
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def public(key: Key, kid: str | None, **more: Any) -> dict[str, Any]:
    """The key as a JWKS lists it."""
    algorithm: Any = RSAAlgorithm if isinstance(key, rsa.RSAPrivateKey) else ECAlgorithm
    content: dict[str, Any] = algorithm.to_jwk(key.public_key(), as_dict=True)
    return content | {"use": "sig"} | ({} if kid is None else {"kid": kid}) | more


def jwks(*keys: dict[str, Any]) -> bytes:
    """A JWKS."""
    return json.dumps({"keys": list(keys)}).encode()


def token(key: Key, kid: str | None = "k1", algorithm: str = "RS256", **claims: Any) -> bytes:
    """A signed token; a claim of None is left out."""
    content = {"iss": ISSUER, "aud": AUDIENCE, "sub": "someone", "iat": NOW, "exp": NOW + DAY} | claims
    headers = {} if kid is None else {"kid": kid}
    kept = {name: value for name, value in content.items() if value is not None}
    return jwt.encode(kept, key, algorithm=algorithm, headers=headers).encode()


def unsigned(head: dict[str, Any], **claims: Any) -> bytes:
    """A token with a made-up signature."""
    content = {"iss": ISSUER, "aud": AUDIENCE, "sub": "someone", "exp": NOW + DAY} | claims
    parts = [base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=") for part in (head, content)]
    return b".".join([*parts, b"c2lnbmF0dXJl"])


def account_token(audience: str = AUDIENCE, account: str = "team-a:web", seconds: int = DAY, **claims: Any) -> bytes:
    """A token in the form of a ServiceAccount's, without a valid signature."""
    subject = f"system:serviceaccount:{account}"
    return unsigned(
        {"alg": "RS256"}, iss="https://kubernetes", aud=[audience], sub=subject, **{"exp": NOW + seconds, **claims}
    )
