"""The only door to the `kubernetes` library: requests to the API server. Everything here blocks: call it in a thread.

The library is imported with the first request, since it costs 25 MB and half a second of CPU. Its typed classes
stay unused (as much again): its configuration loader says where the server is and who asks, its `ApiClient` sends.
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
# etcd keeps no object above 1.5 MiB by default, and of pods a page has 500, of some 10 KiB each.
MAX_BYTES: Final = 64 << 20  # of a whole answer
MAX_LINE_BYTES: Final = 4 << 20  # of one event
SLOWEST: Final = 10.0  # times the patience with one silence: then an answer that drips is over

_PIECE_BYTES: Final = 1 << 16

_CONNECTION: Final = re.compile(r"^(\w+\(host=.*?\): |\(0\) Reason: )")


class ApiFailure(Exception):
    """The API server gave no answer that can be used."""


class Unreachable(ApiFailure):
    """No connection, or it broke, or nothing came in time. `is_distrust`: certificates do not fit each other."""

    def __init__(self, message: str, is_distrust: bool = False) -> None:
        super().__init__(message)
        self.is_distrust = is_distrust


class StatusFailure(ApiFailure):
    """The server answered with an error. `retry_after_seconds` is what it asks for, if it does."""

    def __init__(self, status: int, message: str, retry_after_seconds: float | None = None) -> None:
        super().__init__(f"{status} {message}")
        self.status = status
        self.retry_after_seconds = retry_after_seconds


class Status(msgspec.Struct):
    """A Kubernetes Status object, as far as it is read (meta/v1 in k8s.io/apimachinery)."""

    message: str | None = None
    code: int | None = None


class Stream:
    """An answer that goes on: lines of bytes as they come. `stop` may be called from another thread."""

    def __init__(self, response: Any) -> None:
        self._response = response

    def lines(self) -> Iterator[bytes]:
        """Each whole line, without its end. Raises Unreachable when the silence is too long or the line breaks."""
        pending = bytearray()
        with _failures():
            for piece in self._response.stream(amt=None, decode_content=False):
                first, *others = piece.split(b"\n")
                pending += first
                if len(pending) > MAX_LINE_BYTES:
                    raise Unreachable(f"an event of more than {MAX_LINE_BYTES} bytes")
                if others:
                    yield bytes(pending)
                    yield from others[:-1]
                    pending = bytearray(others[-1])

    def stop(self) -> None:
        """Ends the reading at once, whoever does it."""
        connection = getattr(self._response, "connection", None)
        sock = getattr(connection, "sock", None)
        if sock is not None:
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)


class ApiServer:
    """Requests with the right credentials. Changes when credentials are read anew; may be used by several threads."""

    def __init__(self, access: Access) -> None:
        self.access = access
        self._client: ApiClient | None = None
        self._lock = threading.Lock()

    def get(self, path: str, query: Mapping[str, str], read_seconds: float) -> bytes:
        """The body of a 200 answer. Raises Refused or Unreachable."""
        with self._answer("GET", path, query, None, read_seconds) as response:
            return _whole(response, read_seconds)

    def send(self, method: str, path: str, body: Mapping[str, Any], read_seconds: float) -> bytes:
        """Sends an object, with PATCH as a merge patch; returns the body of the answer. Raises as `get`."""
        with self._answer(method, path, {}, dict(body), read_seconds) as response:
            return _whole(response, read_seconds)

    @contextmanager
    def stream(self, path: str, query: Mapping[str, str], silence_seconds: float) -> Iterator[Stream]:
        """An answer read as it comes; `silence_seconds` without a byte end it. Raises as `get`."""
        with self._answer("GET", path, query, None, silence_seconds) as response:
            yield Stream(response)

    def forget_credentials(self) -> None:
        """The next request reads token, certificates and kubeconfig anew."""
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
                raise _reason(response)
            yield response
        finally:
            response.close()

    def _connected(self) -> "ApiClient":
        with self._lock:
            if self._client is None:
                self._client = _connect(self.access)
            return self._client


def _whole(response: Any, read_seconds: float) -> bytes:
    """The body, as it came: compressed ones are not asked for."""
    pieces, size = [], 0
    ends_at = time.monotonic() + read_seconds * SLOWEST
    read = getattr(response, "read1", response.read)  # what is there, where urllib3 can: the clock is looked at
    with _failures():
        while piece := read(_PIECE_BYTES, decode_content=False):
            pieces.append(piece)
            size += len(piece)
            if size > MAX_BYTES:
                raise Unreachable(f"an answer of more than {MAX_BYTES} bytes")
            if time.monotonic() > ends_at:
                raise Unreachable(f"an answer that was not over within {read_seconds * SLOWEST:g} s")
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
    settings.retries = False  # who asks decides when to ask again
    client = ApiClient(settings)
    client.user_agent = "ai-gateway-ollama"
    return client


@contextmanager
def _failures() -> Iterator[None]:
    """Where the library's and urllib3's errors become ours: around their calls alone, never around a caller's block,
    whose own faults would be taken for those of the connection."""
    try:
        yield
    except ApiFailure:
        raise
    except Exception as error:
        from kubernetes.client.exceptions import ApiException
        from kubernetes.config.config_exception import ConfigException
        from urllib3.exceptions import HTTPError, SSLError

        # OSError: files of credentials, sockets. ValueError: a kubeconfig whose content is nonsense.
        if not isinstance(error, HTTPError | ApiException | ConfigException | OSError | ValueError):
            raise
        # The library wraps a failed handshake in an error of its own.
        is_distrust = isinstance(error, SSLError) or isinstance(error.__context__, SSLError)
        raise Unreachable(_sentence(error), is_distrust) from error


def _sentence(error: Exception) -> str:
    """urllib3 begins its messages with a description of the connection; the cause stands behind it."""
    first = error.args[0] if error.args and isinstance(error.args[0], str) else str(error)
    text = " ".join((first if type(error).__name__ == "ProtocolError" else str(error)).split())
    text = text or type(error).__name__
    return _CONNECTION.sub("", text)


def _reason(response: Any) -> StatusFailure:
    try:
        body = response.read(1 << 16)
        message = msgspec.json.decode(body, type=Status).message
    except Exception:  # the status says enough: whatever the body is, it must not hide it
        message = None
    asked = response.headers.get("Retry-After", "")
    return StatusFailure(response.status, message or response.reason or "", float(asked) if asked.isdigit() else None)
