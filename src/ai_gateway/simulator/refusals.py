"""Ollama's error answers, in their two shapes."""

BUSY = "server busy, please try again.  maximum pending requests exceeded"
RUNNER_STOPPED = (
    "model runner has unexpectedly stopped, this may be due to resource limitations or an internal error, "
    "check ollama server logs for details"
)


class Refusal(Exception):
    """The request gets an error status and one sentence, before the first byte of an answer."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


class Unreadable(Refusal):
    """Ollama's reader refuses the body, 400; on /v1 this answer has no line end."""

    def __init__(self, message: str) -> None:
        super().__init__(400, message)


class Busy(Refusal):
    """OLLAMA_MAX_QUEUE requests already wait for a load. Ollama sends no Retry-After."""

    def __init__(self) -> None:
        super().__init__(503, BUSY)


def not_found(model: str) -> Refusal:
    """The refusal of chat, generate and completions for a missing model."""
    return Refusal(404, f"model '{model}' not found")


def native_error(refusal: Refusal) -> dict[str, object]:
    """`{"error": "text"}`, the shape on native paths."""
    return {"error": refusal.message}


def openai_error(refusal: Refusal) -> dict[str, object]:
    """`{"error": {"message", "type", "param", "code"}}`, the shape on /v1 paths."""
    types = {400: "invalid_request_error", 404: "not_found_error"}
    error_type = types.get(refusal.status, "api_error")
    return {"error": {"message": refusal.message, "type": error_type, "param": None, "code": None}}


class CloudRefusal(Refusal):
    """A name that ends in :cloud or -cloud. It comes in the native shape on /v1 paths too."""

    def __init__(self) -> None:
        super().__init__(403, "ollama cloud is disabled: remote model is unavailable")
