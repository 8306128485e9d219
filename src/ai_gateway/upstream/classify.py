"""Decides by an endpoint's status: an answer, an error for the client, or a failure to repeat elsewhere.

The table is the API's: docs/api-endpoints.md, "What becomes of Ollama's errors".
"""

from typing import Literal

import msgspec

from ai_gateway.errors import BackendUnavailable, GatewayError, InvalidRequest, ModelMissing, UpstreamFailed
from ai_gateway.wire.answer import read_error
from ai_gateway.wire.ollama_errors import client_error, hidden_client_error
from ai_gateway.wire.operations import Operation

Blame = Literal["endpoint", "model", "missing", "nobody"]


class FailedAttempt(msgspec.Struct, frozen=True):
    """An attempt that failed before the first byte: the error that the client would get, and what is to blame.

    `endpoint`: it could not be reached or cut the line. `model`: a 5xx, which counts only if another endpoint
    can serve the same call. `missing`: it lacks the model. `nobody`: it is busy.
    """

    error: GatewayError
    blame: Blame
    reason: str
    is_refused: bool = False  # the endpoint takes no connections
    may_repeat_here: bool = False  # a kept connection broke: the endpoint may never have seen the call


def classify(status: int, body: bytes, model: str, operation: Operation) -> FailedAttempt:
    """The failure, by a status other than 200. Raises InvalidRequest or UpstreamFailed where no other can help."""
    message = read_error(body)
    reason = f"status {status}: {message[:500]}"
    if status == 404:
        return FailedAttempt(
            ModelMissing(f"No endpoint has model {model!r} any more; pull it there."), "missing", reason
        )
    if status in (429, 503):
        busy = BackendUnavailable("Ollama is busy; try again in a moment.", code="upstream_busy")
        return FailedAttempt(busy, "nobody", reason)
    if status == 501:
        raise InvalidRequest(message or "The model cannot do this.", code="model_lacks_capability", param="model")
    if status >= 500:
        if (refused := hidden_client_error(message, operation.text_field)) is not None:
            raise refused
        return FailedAttempt(UpstreamFailed("Ollama failed to answer this request."), "model", reason)
    if status in (401, 403) or status < 400:
        raise UpstreamFailed(f"Ollama answered the gateway itself with {status}.", code="upstream_refused")
    raise client_error(status, message, operation.text_field)
