"""Small documents from outside the fleet, such as an issuer's keys: https, a bounded size, no redirects, no cookies."""

import asyncio
from functools import partial
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import httpx

from ai_gateway.auth.oidc import FetchFailure
from ai_gateway.config.reading import read_text
from ai_gateway.config.threads import run_in_thread
from ai_gateway.upstream.client import Client
from ai_gateway.upstream.transport import httpx_client
from ai_gateway.wire.address import parse_url

MAX_BYTES: Final = 1 << 20
SECONDS: Final = 5.0
# kube-apiserver sends a JWKS only to clients that accept this type.
ACCEPT: Final = "application/json, application/jwk-set+json"


class Fetching:
    """Fetches with a CA bundle instead of the system's.

    Only the origin of `known` also gets the token that the file holds at that moment.
    """

    def __init__(
        self, client: Client, ca_file: str | None = None, token_file: str | None = None, known: str = ""
    ) -> None:
        self._client = client
        self._ca_file = ca_file
        self._token_file = token_file
        self._known = urlsplit(known)[:2]

    async def __call__(self, url: str) -> bytes:
        """The body of a 200 answer. Raises FetchFailure."""
        headers = {"accept": ACCEPT}
        try:
            if self._token_file is not None and urlsplit(url)[:2] == self._known:
                token = await run_in_thread(partial(read_text, Path(self._token_file)))
                if not token.isprintable():
                    raise FetchFailure(f"{self._token_file} holds no token")
                headers["authorization"] = f"Bearer {token}"
            async with (
                asyncio.timeout(SECONDS),
                httpx_client(self._client, parse_url(url, self._ca_file)) as http,
                http.stream("GET", url, headers=headers) as answer,
            ):
                if answer.status_code != 200:
                    raise FetchFailure(f"{url} answered {answer.status_code}")
                return await _bounded(answer, url)
        except TimeoutError:
            raise FetchFailure(f"{url} did not answer within {SECONDS:g} s") from None
        except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError) as error:
            raise FetchFailure(f"{url} cannot be read: {error}") from None


async def _bounded(answer: httpx.Response, url: str) -> bytes:
    body = bytearray()
    async for piece in answer.aiter_raw():
        body += piece
        if len(body) > MAX_BYTES:
            raise FetchFailure(f"{url} is larger than {MAX_BYTES} bytes")
    return bytes(body)
