"""Everything that can go wrong with a request, as a tree; each class says who is to blame and what comes next.

GatewayError
├── InvalidRequest 400          the client must change the request
│   ├── UnsupportedRoute        a whole API that is not served, such as /v1/responses
│   ├── UnknownPath 404, WrongMethod 405, RequestTimeout 408, BodyTooLarge 413, UnsupportedMediaType 415
│   ├── AuditOff 404, AuditClosed 403    there is no audit to read, or not for this caller
│   └── ModelNotFound 404       the model is not in the config
│       └── ModelDenied         the caller may not know of it
├── Unauthorized 401            there is no credential, or it is not valid
├── NotAllowed 403              the caller is known and may not do this
├── RateLimited 429             a limit does not admit the call now; it says when
│   └── QueueShare              the queue is full, and this caller holds more than its share of it
├── BackendUnavailable 503      the fleet cannot answer now
│   ├── QueueFull, QueueTimeout, BuffersFull, ServerShutdown    the gateway is full or leaving; retry later
│   ├── ModelLoading, LoadFailed    the model is resident nowhere: its load takes long, or fails
│   ├── ModelPulling            no endpoint has the model yet
│   ├── AuthUnavailable         the gateway cannot check the credential now
│   ├── AuditUnavailable        the audit cannot be written or read
│   ├── NoEndpoint              no Ollama is up
│   ├── ModelMissing            no endpoint holds the model; a retry cannot help
│   ├── UpstreamFailed 502      Ollama broke off, sent no valid answer, or refused the gateway
│   └── UpstreamTimeout 504     Ollama was too slow after the request was sent
└── InternalError 500           the gateway itself failed

The client sees a type that follows from the status alone (`error_type`). `code` is finer and stable.
"""

from typing import ClassVar


def error_type(status: int) -> str:
    """The error type, one of five, of an HTTP status (400..599)."""
    if status in (401, 403):
        return "unauthorized"
    if status == 429:
        return "rate_limited"
    if 400 <= status < 500:
        return "invalid_request"
    if status in (502, 503, 504):
        return "backend_unavailable"
    return "internal_error"


class GatewayError(Exception):
    """An error for the client: a status, a stable `code`, and a sentence that tells a person what to do.

    `param` names the request's field that is wrong. `retry_after` is in seconds. `should_retry` False tells OpenAI
    clients not to try again (`x-should-retry`). `allow` lists the methods of a 405.
    """

    status: ClassVar[int] = 500
    is_denied: ClassVar[bool] = False  # permissions are the reason, even if the client gets another one
    code: ClassVar[str] = "internal_error"
    retry_after: float | None = None
    should_retry: bool | None = None

    def __init__(self, message: str, *, code: str | None = None, param: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.error_code = code or self.code
        self.param = param
        self.error_status = self.status

    @property
    def type(self) -> str:
        """One of the five types of the API."""
        return error_type(self.error_status)


class InvalidRequest(GatewayError):
    """The request itself is wrong. `status` may be another 4xx, as Ollama gave it."""

    status = 400
    code = "invalid_request"

    def __init__(
        self, message: str, *, code: str | None = None, param: str | None = None, status: int | None = None
    ) -> None:
        super().__init__(message, code=code, param=param)
        if status is not None:
            self.error_status = status


class UnknownPath(InvalidRequest):
    """The gateway serves nothing at this path."""

    status = 404
    code = "not_found"


class UnsupportedRoute(InvalidRequest):
    """Ollama has this route, but the gateway does not serve it.

    It is not a 404: Claude Code, pydantic-ai and others take that for a missing model.
    """

    code = "unsupported_route"


class WrongMethod(InvalidRequest):
    """The path does not have this method."""

    status = 405
    code = "method_not_allowed"

    def __init__(self, message: str, *, allow: str) -> None:
        super().__init__(message)
        self.allow = allow


class RequestTimeout(InvalidRequest):
    """The client did not send its request in time."""

    status = 408
    code = "request_timeout"


class BodyTooLarge(InvalidRequest):
    """The body is larger than `body.max_bytes`."""

    status = 413
    code = "body_too_large"


class UnsupportedMediaType(InvalidRequest):
    """The Content-Type does not say JSON in UTF-8."""

    status = 415
    code = "unsupported_media_type"


class ModelNotFound(InvalidRequest):
    """The model is not in the config."""

    status = 404
    code = "model_not_found"


class AuditOff(InvalidRequest):
    """The gateway keeps no audit that can be read."""

    status = 404
    code = "audit_off"


class AuditClosed(InvalidRequest):
    """This caller may not read the audit."""

    status = 403
    is_denied = True
    code = "not_allowed"


class ModelDenied(ModelNotFound):
    """The caller may not use this model. The error says that the model does not exist."""

    is_denied = True


class Unauthorized(GatewayError):
    """There is no credential, or it is not valid. The error does not say which."""

    status = 401
    is_denied = True
    code = "unauthorized"


class NotAllowed(GatewayError):
    """The caller is known and may not do this."""

    status = 403
    is_denied = True
    code = "not_allowed"


class RateLimited(GatewayError):
    """A limit of the caller, of its tenant or of the model does not admit the call now."""

    status = 429
    code = "rate_limit_exceeded"
    retry_after: float | None = 1.0


class QueueShare(RateLimited):
    """The model's queue is full, and this caller holds more than its share of it."""

    code = "queue_share"
    retry_after = 2.0


class BackendUnavailable(GatewayError):
    """The fleet cannot answer this now."""

    status = 503
    code = "backend_unavailable"
    retry_after: float | None = 1.0
    is_garbled = False  # no Ollama would send this answer: the endpoint itself is wrong


class QueueFull(BackendUnavailable):
    """The model's queue is full."""

    code = "queue_full"
    retry_after = 2.0


class QueueTimeout(BackendUnavailable):
    """No slot became free within `timeouts.queue`."""

    code = "queue_timeout"
    retry_after = 5.0


class ModelLoading(BackendUnavailable):
    """The model was not loaded within `timeouts.load`."""

    code = "model_loading"
    retry_after = 10.0


class LoadFailed(BackendUnavailable):
    """Every endpoint that holds the model failed to load it, not long ago."""

    code = "load_failed"
    retry_after = 10.0


class ModelPulling(BackendUnavailable):
    """The model is being pulled, and no endpoint has it yet."""

    code = "model_pulling"
    retry_after = 10.0


class BuffersFull(BackendUnavailable):
    """All buffered request bodies together have reached `body.buffered_bytes`."""

    code = "buffers_full"
    retry_after = 1.0


class ServerShutdown(BackendUnavailable):
    """The gateway shut down before the answer was finished."""

    code = "server_shutdown"
    retry_after = 1.0


class AuthUnavailable(BackendUnavailable):
    """The gateway cannot check the credential now; it may be valid."""

    code = "auth_unavailable"
    retry_after = 2.0


class AuditUnavailable(BackendUnavailable):
    """The audit cannot be written and the config requires it, or it cannot be read."""

    code = "audit_unavailable"
    retry_after = 2.0


class NoEndpoint(BackendUnavailable):
    """No Ollama endpoint is up."""

    code = "no_endpoint"
    retry_after = 2.0


class ModelMissing(BackendUnavailable):
    """The model is in the config, but no endpoint has it."""

    code = "model_missing"
    retry_after = 30.0
    should_retry = False


class UpstreamFailed(BackendUnavailable):
    """Ollama broke off, sent no valid answer, or refused the gateway itself."""

    status = 502
    code = "upstream_error"
    retry_after = None


class UpstreamTimeout(BackendUnavailable):
    """Ollama did not answer in time after the request was sent."""

    status = 504
    code = "upstream_timeout"
    retry_after = None


class InternalError(GatewayError):
    """The gateway itself failed; its log has the reason."""
