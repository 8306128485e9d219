"""The only door to the `kubernetes` library: requests to the API server. All of it blocks: call it in a thread.

The first request imports the library, since that costs 25 MB and half a second of CPU. Its typed classes would cost as
much again and stay unused. Its configuration loader finds the server and the credentials, and its `ApiClient` sends.
"""

import re
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Final

import msgspec

from ai_gateway.cluster.access import Access

if TYPE_CHECKING:
    from kubernetes.client.api_client import ApiClient

CONNECT_SECONDS: Final = 3.0
# etcd keeps no object above 1.5 MiB by default. A page has 500 pods of about 10 KiB each.
MAX_BYTES: Final = 64 << 20  # of a whole answer
MAX_LINE_BYTES: Final = 4 << 20  # of one event
SLOWEST_FACTOR: Final = 10.0  # times the read timeout: then a slow answer is given up

_PIECE_BYTES: Final = 1 << 16

_CONNECTION: Final = re.compile(r"^(\w+\(host=.*?\): |\(0\) Reason: )")


class ApiFailure(Exception):
    """The API server gave no usable answer."""


class Unreachable(ApiFailure):
    """No connection, a broken one, or no answer in time. `is_distrust`: TLS verification failed."""

    def __init__(self, message: str, is_distrust: bool = False) -> None:
        super().__init__(message)
        self.is_distrust = is_distrust


class StatusFailure(ApiFailure):
    """The server answered with an error. `retry_after_seconds` is its Retry-After, if it sent one."""

    def __init__(self, status: int, message: str, retry_after_seconds: float | None = None) -> None:
        super().__init__(f"{status} {message}")
        self.status = status
        self.retry_after_seconds = retry_after_seconds


class Status(msgspec.Struct):
    """The parts that we read of a Kubernetes Status object (meta/v1 in k8s.io/apimachinery)."""

    message: str | None = None
    code: int | None = None


class Stream:
    """A streamed answer: lines of bytes as they come. Another thread may call `stop`."""

    def __init__(self, response: Any) -> None:
        self._response = response

    def lines(self) -> Iterator[bytes]:
        """Each whole line, without its end. Raises Unreachable if the server is silent too long or disconnects."""
        pending = bytearray()
        with _failures():
            for piece in self._response.stream(amt=None, decode_content=False):
                first, *others = piece.split(b"\n")
                pending += first
                if len(pending) > MAX_LINE_BYTES:
                    raise Unreachable(f"the server sent an event of more than {MAX_LINE_BYTES} bytes")
                if others:
                    yield bytes(pending)
                    yield from others[:-1]
                    pending = bytearray(others[-1])

    def stop(self) -> None:
        """Ends the read at once, in whatever thread it runs."""
        connection = getattr(self._response, "connection", None)
        sock = getattr(connection, "sock", None)
        if sock is not None:
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)


class ApiServer:
    """Sends requests with the right credentials. Only `forget_credentials` changes it; several threads may use it."""

    def __init__(self, access: Access) -> None:
        self.access = access
        self._client: ApiClient | None = None
        self._lock = threading.Lock()

    def get(self, path: str, query: Mapping[str, str], read_seconds: float) -> bytes:
        """The body of a 2xx answer. Raises StatusFailure or Unreachable."""
        with self._answer("GET", path, query, None, read_seconds) as response:
            return _whole(response, read_seconds)

    def send(self, method: str, path: str, body: Mapping[str, Any], read_seconds: float) -> bytes:
        """Sends an object (PATCH: a merge patch) and returns the body of the answer. Raises as `get`."""
        with self._answer(method, path, {}, dict(body), read_seconds) as response:
            return _whole(response, read_seconds)

    @contextmanager
    def stream(self, path: str, query: Mapping[str, str], silence_seconds: float) -> Iterator[Stream]:
        """An answer, read as it comes. `silence_seconds` without a byte end it. Raises as `get`."""
        with self._answer("GET", path, query, None, silence_seconds) as response:
            yield Stream(response)

    def forget_credentials(self) -> None:
        """The next request reads token, certificates and kubeconfig again."""
        with self._lock:
            self._client = None

    @contextmanager
    def _answer(
        self, method: str, path: str, query: Mapping[str, str], body: dict[str, Any] | None, read_seconds: float
    ) -> Iterator[Any]:
        kind = "application/merge-patch+json" if method == "PATCH" else "application/json"
        headers = {"Accept": "application/json", **({} if body is None else {"Content-Type": kind})}
        with _failures():
            client = self._connected()
            serialized = client.param_serialize(
                method,
                path,
                query_params=list(query.items()),
                header_params=headers,
                body=body,
                auth_settings=["BearerToken"],
            )
            response = client.call_api(*serialized, _request_timeout=(CONNECT_SECONDS, read_seconds)).response
        try:
            if not 200 <= response.status < 300:
                raise _status_failure(response)
            yield response
        finally:
            response.close()

    def _connected(self) -> "ApiClient":
        with self._lock:
            if self._client is None:
                self._client = _connect(self.access)
            return self._client


def _whole(response: Any, read_seconds: float) -> bytes:
    """The body as sent; we ask for no compression."""
    pieces, size = [], 0
    ends_at = time.monotonic() + read_seconds * SLOWEST_FACTOR
    read = getattr(
        response, "read1", response.read
    )  # returns what is there, if urllib3 has it, so that we can check the clock
    with _failures():
        while piece := read(_PIECE_BYTES, decode_content=False):
            pieces.append(piece)
            size += len(piece)
            if size > MAX_BYTES:
                raise Unreachable(f"the server sent an answer of more than {MAX_BYTES} bytes")
            if time.monotonic() > ends_at:
                raise Unreachable(f"the answer was not complete within {read_seconds * SLOWEST_FACTOR:g} s")
    return b"".join(pieces)


def _connect(access: Access) -> "ApiClient":
    from kubernetes.client.api_client import ApiClient
    from kubernetes.client.configuration import Configuration
    from kubernetes.config.incluster_config import InClusterConfigLoader
    from kubernetes.config.kube_config import load_kube_config

    settings = Configuration()
    if access.is_in_cluster:
        token, authority = (str(access.service_account / name) for name in ("token", "ca.crt"))
        InClusterConfigLoader(token, authority).load_and_set(settings)  # type: ignore[no-untyped-call]  # the library's
    else:
        files = ":".join(map(str, access.kubeconfig_files))
        load_kube_config(files, access.context, settings, persist_config=False)  # type: ignore[no-untyped-call]  # too
    settings.retries = False  # the caller decides when to retry
    client = ApiClient(settings)
    client.user_agent = "ai-gateway-ollama"
    return client


@contextmanager
def _failures() -> Iterator[None]:
    """Turns errors of the library and of urllib3 into ours.

    Use it only around their calls, never around a caller's block: its own errors would look like broken connections.
    """
    try:
        yield
    except ApiFailure:
        raise
    except Exception as error:
        from kubernetes.client.exceptions import ApiException
        from kubernetes.config.config_exception import ConfigException
        from urllib3.exceptions import HTTPError, SSLError

        # OSError: credential files, sockets. ValueError: an invalid kubeconfig.
        if not isinstance(error, HTTPError | ApiException | ConfigException | OSError | ValueError):
            raise
        # The library wraps a failed handshake in its own error.
        is_distrust = isinstance(error, SSLError) or isinstance(error.__context__, SSLError)
        raise Unreachable(_sentence(error), is_distrust) from error


def _sentence(error: Exception) -> str:
    """The cause. urllib3 puts a description of the connection in front of it."""
    first = error.args[0] if error.args and isinstance(error.args[0], str) else str(error)
    text = " ".join((first if type(error).__name__ == "ProtocolError" else str(error)).split())
    text = text or type(error).__name__
    return _CONNECTION.sub("", text)


def _status_failure(response: Any) -> StatusFailure:
    try:
        body = response.read(1 << 16)
        message = msgspec.json.decode(body, type=Status).message
    except Exception:  # the body does not matter: the status says enough
        message = None
    retry_after = response.headers.get("Retry-After", "")
    return StatusFailure(
        response.status, message or response.reason or "", float(retry_after) if retry_after.isdigit() else None
    )
