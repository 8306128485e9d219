"""The client as an httpx transport, for polls and other control calls through httpx.

No answer is larger than MAX_BYTES; the caller sets the timeout.
"""

from collections.abc import AsyncIterator, Callable
from http.cookiejar import DefaultCookiePolicy
from typing import Final

import httpx

from ai_gateway.upstream.client import Client, Request, UpstreamExchange
from ai_gateway.upstream.failures import ConnectFailure, UpstreamFailure
from ai_gateway.wire.address import Address

MAX_BYTES: Final = 2 << 20  # of one answer; /api/tags has about 500 bytes for each model

_OWN_HEADERS = frozenset(
    {b"host", b"content-length", b"content-type", b"accept-encoding", b"user-agent", b"connection"}
)


class UpstreamTransport(httpx.AsyncBaseTransport):
    """Sends httpx requests over the gateway's own connections.

    `ca_file` holds for every https address; `uid` is the pod's, whose connections are shared with its calls.
    """

    def __init__(self, client: Client, ca_file: str | None = None, uid: str = "") -> None:
        self._client = client
        self._ca_file = ca_file
        self._uid = uid

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """See httpx. A failure becomes httpx.ConnectError or httpx.ReadError; the caller sets the read timeout."""
        url = request.url
        port = url.port or (443 if url.scheme == "https" else 80)
        address = Address(url.host, port, url.scheme, "", self._ca_file, self._uid)
        extra = b"".join(
            name + b": " + value + b"\r\n" for name, value in request.headers.raw if name.lower() not in _OWN_HEADERS
        )
        sent = Request(request.method, url.raw_path.decode(), (await request.aread(),), extra)
        connect_seconds = request.extensions.get("timeout", {}).get("connect") or 2.0
        exchange = self._client.exchange(address, sent, connect_seconds)
        try:
            await exchange.__aenter__()
        except ConnectFailure as failure:
            raise httpx.ConnectError(str(failure), request=request) from None
        except UpstreamFailure as failure:
            raise httpx.ReadError(str(failure), request=request) from None
        # The headers are dropped, since httpx would act on them: decode, parse cookies, prepare a redirect, and fail
        # on a bad Location with an exception that is not an httpx.HTTPError. The date tells the endpoint's clock.
        extensions = {"date": exchange.head.get(b"date")}
        return httpx.Response(exchange.head.status, stream=_Body(exchange), extensions=extensions)


class _Body(httpx.AsyncByteStream):
    """The body of an answer; closing it returns the connection."""

    def __init__(self, exchange: UpstreamExchange) -> None:
        self._exchange = exchange

    async def __aiter__(self) -> AsyncIterator[bytes]:
        size = 0
        try:
            while data := await self._exchange.read():
                size += len(data)
                if size > MAX_BYTES:
                    raise httpx.ReadError(f"the answer is larger than {MAX_BYTES} bytes")
                yield data
        except UpstreamFailure as failure:
            raise httpx.ReadError(str(failure)) from None

    async def aclose(self) -> None:
        await self._exchange.__aexit__(None, None, None)


Wrap = Callable[[httpx.AsyncBaseTransport], httpx.AsyncBaseTransport]


def httpx_client(client: Client, address: Address, wrap: Wrap | None = None) -> httpx.AsyncClient:
    """An httpx client for control calls to one endpoint: no proxies, no cookies kept, no redirects.

    `wrap` puts a transport around its own, such as one that makes spans.
    """
    transport: httpx.AsyncBaseTransport = UpstreamTransport(client, address.ca_file, address.uid)
    control = httpx.AsyncClient(
        transport=transport if wrap is None else wrap(transport),
        base_url=address.url,
        trust_env=False,
        follow_redirects=False,
        headers={"accept-encoding": "identity"},
    )
    control.cookies.jar.set_policy(DefaultCookiePolicy(allowed_domains=[]))
    return control
