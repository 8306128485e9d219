"""Asks a running gateway over HTTP, as the commands do that show something of it."""

import json
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

ANSWER_SECONDS: Final = 10.0
MOST_BYTES: Final = 16 << 20


class Unanswered(Exception):
    """The gateway did not give what was asked for; the text is the reason. `is_final`: it will not, either."""

    def __init__(self, reason: str, *, is_final: bool = False) -> None:
        super().__init__(reason)
        self.is_final = is_final


class Asking:
    """One gateway, by the URL of its API. The key in `key_file` goes with each question; it is read anew each time."""

    def __init__(self, url: str, key_file: Path | None) -> None:
        if not url.startswith(("http://", "https://")):
            raise ValueError(f"{url!r} is not a URL; write one such as http://127.0.0.1:8080")
        self._url = url.rstrip("/").removesuffix("/v1")
        self._key_file = key_file

    def get(self, path: str) -> dict[str, Any]:
        """The JSON object at a path. Raises Unanswered, or OSError for the file with the key."""
        headers = {}
        if self._key_file is not None:
            headers["authorization"] = f"Bearer {self._key_file.read_text().strip()}"
        asked = urllib.request.Request(self._url + quote(path), headers=headers)  # noqa: S310 - http or https
        try:
            with urllib.request.urlopen(asked, timeout=ANSWER_SECONDS) as answer:  # noqa: S310
                found = json.loads(answer.read(MOST_BYTES))
        except urllib.error.HTTPError as error:
            if error.code == 503 and path == "/v1/health":
                raise Unanswered("the gateway is not ready") from None
            raise Unanswered(_message(error), is_final=error.code in (400, 401, 403, 404)) from None
        except (OSError, ValueError) as error:
            reason = getattr(error, "reason", None) or error
            raise Unanswered(f"no gateway answers at {self._url}: {reason}") from None
        if not isinstance(found, dict):
            raise Unanswered(f"{self._url} is not a gateway of this kind", is_final=True)
        return found


def _message(error: urllib.error.HTTPError) -> str:
    try:
        return str(json.loads(error.read(MOST_BYTES))["error"]["message"])
    except (ValueError, LookupError, TypeError, OSError):
        return f"the gateway answered {error.code}"
