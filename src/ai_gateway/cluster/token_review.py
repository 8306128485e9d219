"""TokenReview: the API server says whose a token is. Needs `create` on `tokenreviews.authentication.k8s.io`."""

from typing import Final

import msgspec

from ai_gateway.cluster.api import ApiFailure, ApiServer, StatusFailure
from ai_gateway.wire.unreadable import UNREADABLE

PATH: Final = "/apis/authentication.k8s.io/v1/tokenreviews"
SECONDS: Final = 5.0


class _User(msgspec.Struct):
    username: str = ""
    groups: tuple[str, ...] = ()


class ReviewResult(msgspec.Struct):
    """`status` of a TokenReview, as far as it is read."""

    authenticated: bool = False
    user: _User = msgspec.field(default_factory=_User)
    audiences: tuple[str, ...] = ()


class _Review(msgspec.Struct):
    status: ReviewResult = msgspec.field(default_factory=ReviewResult)


def review(api: ApiServer, token: str, audience: str) -> ReviewResult:
    """What the API server says of a token that should be made for an audience. Blocks. Raises ApiFailure."""
    asked = {
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenReview",
        "spec": {"token": token, "audiences": [audience]},
    }
    try:
        body = api.send("POST", PATH, asked, SECONDS)
    except StatusFailure as refused:
        if refused.status == 401:  # the gateway's own token was exchanged meanwhile
            api.forget_credentials()
            body = api.send("POST", PATH, asked, SECONDS)
        else:
            raise
    try:
        return msgspec.json.decode(body, type=_Review).status
    except UNREADABLE:
        raise ApiFailure("the answer to a TokenReview cannot be read") from None
