"""TokenReview: the API server identifies a token. Needs `create` on `tokenreviews.authentication.k8s.io`."""

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
    """The parts that we read of the `status` of a TokenReview."""

    authenticated: bool = False
    user: _User = msgspec.field(default_factory=_User)
    audiences: tuple[str, ...] = ()


class _Review(msgspec.Struct):
    status: ReviewResult = msgspec.field(default_factory=ReviewResult)


def review(api: ApiServer, token: str, audience: str) -> ReviewResult:
    """The API server's result for a token with this audience. Blocks. Raises ApiFailure."""
    request = {
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenReview",
        "spec": {"token": token, "audiences": [audience]},
    }
    try:
        body = api.send("POST", PATH, request, SECONDS)
    except StatusFailure as failure:
        if failure.status == 401:  # the gateway's own token was rotated meanwhile
            api.forget_credentials()
            body = api.send("POST", PATH, request, SECONDS)
        else:
            raise
    try:
        return msgspec.json.decode(body, type=_Review).status
    except UNREADABLE:
        raise ApiFailure("the gateway cannot read the answer to its TokenReview") from None
