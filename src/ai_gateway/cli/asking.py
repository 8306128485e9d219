"""Asks a running gateway over HTTP, as the commands do that show something of it.

No redirect is followed and no proxy is asked, so the key goes to the gateway alone; and no message shows the key.
"""

import json
import time
from collections.abc import Callable
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from pathlib import Path
from typing import Any, Final, Self
from urllib.parse import quote, urlsplit

ANSWER_SECONDS: Final = 10.0
MOST_BYTES: Final = 16 << 20
MOST_LETTERS: Final = 500  # of a message of the server
_AT_ONCE: Final = 1 << 16
_EXAMPLE: Final = "write one such as http://127.0.0.1:8080"


class Unanswered(Exception):
    """The gateway did not give what was asked for; the text is the reason. `status` is that of its answer, if any."""

    def __init__(self, reason: str, status: int | None = None) -> None:
        super().__init__(reason)
        self.status = status


class Asking:
    """One gateway, by the URL of its API. The key in `key_file` goes with each question; it is read anew each time.

    Raises ValueError for what is not such a URL.
    """

    def __init__(self, url: str, key_file: Path | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._connect, self._host, self._prefix = _read_url(url)
        self._key_file = key_file
        self._clock = clock
        self._connection: HTTPConnection | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def get(self, path: str, seconds: float = ANSWER_SECONDS) -> dict[str, Any]:
        """The JSON object at a path (unquoted). Raises Unanswered, and ValueError or OSError for the file's key."""
        headers = {"accept": "application/json"}
        if self._key_file is not None:
            headers["authorization"] = f"Bearer {_read_key(self._key_file)}"
        ends_at = self._clock() + max(0.1, min(seconds, ANSWER_SECONDS))
        try:
            status, body = self._ask(self._prefix + quote(path), headers, ends_at)
        except (OSError, HTTPException, ValueError) as error:
            self.close()
            raise Unanswered(f"no gateway answers at {self._host}: {_reason(error)}") from None
        found = _decoded(body)
        if status != 200:
            raise Unanswered(_message(found) or _told(status), status)
        if not isinstance(found, dict):
            raise Unanswered(f"what answers at {self._host} is no gateway of this kind", status)
        return found

    def close(self) -> None:
        """Ends the connection; the next question opens another."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _ask(self, target: str, headers: dict[str, str], ends_at: float) -> tuple[int, bytes]:
        """On the connection of the question before; where the gateway has closed that, on a new one."""
        is_kept = self._connection is not None
        if self._connection is None:
            self._connection = self._connect()
        self._limit(ends_at)
        try:
            self._connection.request("GET", target, headers=headers)
            answer = self._connection.getresponse()
        except (ConnectionError, HTTPException):
            if not is_kept:
                raise
            self.close()
            return self._ask(target, headers, ends_at)
        with answer:  # else the connection is not free for the next question
            return answer.status, self._whole(answer, ends_at)

    def _whole(self, answer: HTTPResponse, ends_at: float) -> bytes:
        parts, size = [], 0
        while part := answer.read1(_AT_ONCE):
            parts.append(part)
            size += len(part)
            if size > MOST_BYTES:
                raise ValueError(f"the answer has more than {MOST_BYTES >> 20} MiB")
            self._limit(ends_at)
        if answer.length:  # read1 does not tell that an answer was cut
            raise ConnectionResetError("the answer was cut")
        return b"".join(parts)

    def _limit(self, ends_at: float) -> None:
        left = ends_at - self._clock()
        if left <= 0:
            raise TimeoutError("timed out")
        assert self._connection is not None
        self._connection.timeout = left
        if self._connection.sock is not None:
            self._connection.sock.settimeout(left)


def _read_url(url: str) -> tuple[Callable[[], HTTPConnection], str, str]:
    """How to connect, the host for messages, and what goes before each path."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise ValueError(f"the URL of the gateway cannot be read; {_EXAMPLE}") from None
    if "@" in parts.netloc:
        raise ValueError("the URL of the gateway has a password in it; put the key into a file and name it")
    if parts.scheme not in ("http", "https") or not host or not url.isprintable() or " " in url:
        raise ValueError(f"{url!r} is not a URL; {_EXAMPLE}")
    connection = HTTPSConnection if parts.scheme == "https" else HTTPConnection
    prefix = quote(parts.path.rstrip("/").removesuffix("/v1").rstrip("/"), safe="/%")
    return lambda: connection(host, port), f"{parts.scheme}://{parts.netloc}{prefix}", prefix


def _read_key(path: Path) -> str:
    """Raises ValueError without a word of the key."""
    try:
        key = path.read_text().strip()
    except UnicodeDecodeError:
        raise ValueError(f"{path} is not a text with a key") from None
    if not key:
        raise ValueError(f"{path} is empty: it is to have one key")
    if not key.isascii() or not key.isprintable() or " " in key:
        raise ValueError(f"{path} has more than one key in it, or something else: it is to have one line with one key")
    return key


def _decoded(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def _message(found: Any) -> str | None:
    """That of an error of the API, or what /v1/health says of a gateway that is not ready."""
    if not isinstance(found, dict):
        return None
    error = found.get("error")
    message = error.get("message") if isinstance(error, dict) else found.get("gateway")
    return message[:MOST_LETTERS] if isinstance(message, str) and message else None


def _told(status: int) -> str:
    return "the gateway is not ready" if status == 503 else f"the gateway answered {status}"


def _reason(error: Exception) -> str:
    reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return str(reason)[:MOST_LETTERS]
