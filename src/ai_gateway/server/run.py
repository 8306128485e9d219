"""Serves, from the first bound address to the last closed connection."""

import asyncio
import signal
import threading
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager, AsyncExitStack, ExitStack
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import uvloop

from ai_gateway.server.certificate import Certificate, CertificateFiles
from ai_gateway.server.connection import PortState
from ai_gateway.server.listen import ListenError, listen, refuse_collision
from ai_gateway.server.port import Port
from ai_gateway.wire.framing import FramingLimits

if TYPE_CHECKING:
    from uvicorn._types import ASGIApplication

# A person at the keyboard should not wait half a minute.
_INTERRUPT_GRACE_SECONDS = 5.0
# So that the error events of streams reach their clients.
_STREAM_END_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """Addresses as `HOST:PORT`, times in seconds. TLS is for the API port; probes reach the admin port in plain."""

    listen: str = "127.0.0.1:8080"
    admin: str = "127.0.0.1:9090"
    tls: CertificateFiles | None = None
    tls_poll_seconds: float = 2.0  # how often to check its files; polling works with every kind of mount
    drain_seconds: float = 0.0
    grace_seconds: float = 30.0
    limits: FramingLimits = field(default_factory=FramingLimits)
    idle_seconds: Callable[[], float] | None = None  # overrides the limits; may change at run time


class Shutdown:
    """Whether the server shall shut down, and how fast. Changed by `begin` and `request`; signals call them."""

    def __init__(self) -> None:
        self.requested = asyncio.Event()
        self.forced = asyncio.Event()
        self.undelayed = asyncio.Event()  # without the drain delay
        self.grace_seconds = float("inf")
        self._is_signalled = False

    def begin(self) -> None:
        """Begins a shutdown for a pre-stop hook: the signal after it counts as the first."""
        self.requested.set()

    def request(self, grace_seconds: float = float("inf")) -> None:
        """Requests a shutdown with this much grace at most; the second request ends it at once."""
        if self._is_signalled:
            self.forced.set()
        # A request with a grace of its own does not wait for Services to notice.
        if self._is_signalled or grace_seconds < float("inf"):
            self.undelayed.set()
        self._is_signalled = True
        self.grace_seconds = min(self.grace_seconds, grace_seconds)
        self.requested.set()


def _ignore(*_: object) -> None:
    """The default for each callback."""


@dataclass(frozen=True, slots=True)
class ServerCallbacks:
    """Callbacks for the server's events. The server calls them in the loop; they must not wait.

    `on_listening(api_urls, admin_urls)`: both ports accept connections; `leaving()`: a shutdown begins;
    `shutdown_streams()`: the grace of running requests is over; `refused(status, code, peer)`: a request was
    refused before the app saw it; `certificate_refused(reason)`: changed TLS files cannot be used. `reread()`: SIGHUP
    asks to reload files, beside the certificate; without it SIGHUP requests a shutdown, as SIGTERM does.
    """

    on_listening: Callable[[tuple[str, ...], tuple[str, ...]], None] = _ignore
    leaving: Callable[[], None] = _ignore
    shutdown_streams: Callable[[], None] = _ignore
    refused: Callable[[int, str, str], None] = _ignore
    certificate_refused: Callable[[str], None] = _ignore
    reread: Callable[[], None] | None = None
    shutdown: Shutdown = field(default_factory=Shutdown)


async def serve(
    app: "ASGIApplication",
    admin: "ASGIApplication",
    settings: ServerSettings,
    callbacks: ServerCallbacks | None = None,
    around: AbstractAsyncContextManager[object] | None = None,
) -> None:
    """Serves both apps until a shutdown; see the package's docstring. An earlier request ends it without serving."""
    callbacks = callbacks or ServerCallbacks()
    certificate = Certificate(settings.tls) if settings.tls is not None else None
    api_port, admin_port = _bind(app, admin, settings, callbacks, certificate)
    try:
        with _signals(callbacks, certificate) as signals:
            async with AsyncExitStack() as stack:
                beginning = _begin(stack, around, (api_port, admin_port))
                if await _is_begun(beginning, callbacks.shutdown, signals.close):
                    callbacks.on_listening(api_port.urls, admin_port.urls)
                    await _until_left(api_port, settings, callbacks, certificate)
    finally:
        await api_port.close()
        await admin_port.close()


def _bind(
    app: "ASGIApplication",
    admin: "ASGIApplication",
    settings: ServerSettings,
    callbacks: ServerCallbacks,
    certificate: Certificate | None,
) -> tuple[Port, Port]:
    refuse_collision(settings.listen, settings.admin)
    api_sockets = listen(settings.listen)
    try:
        admin_sockets = listen(settings.admin)
    except ListenError:
        for listening in api_sockets:
            listening.close()
        raise
    api_state = PortState(settings.limits, callbacks.refused, settings.idle_seconds)
    admin_state = PortState(settings.limits, callbacks.refused, settings.idle_seconds)
    return Port(app, api_sockets, certificate, api_state), Port(admin, admin_sockets, None, admin_state)


async def _begin(
    stack: AsyncExitStack, around: AbstractAsyncContextManager[object] | None, ports: tuple[Port, Port]
) -> None:
    if around is not None:
        await stack.enter_async_context(around)
    for port in ports:
        await port.open()


async def _is_begun(beginning: Coroutine[Any, Any, None], shutdown: Shutdown, on_request: Callable[[], None]) -> bool:
    """Whether the start finished before a shutdown was requested, which cancels it: nothing is served yet."""
    try:
        async with asyncio.timeout(None) as patience:
            ending = asyncio.create_task(_end_on_request(patience, shutdown, on_request))
            try:
                await beginning
            finally:
                ending.cancel()
    except TimeoutError:
        if not patience.expired():
            raise
    return not shutdown.requested.is_set()


async def _end_on_request(patience: asyncio.Timeout, shutdown: Shutdown, on_request: Callable[[], None]) -> None:
    await shutdown.requested.wait()
    on_request()
    patience.reschedule(asyncio.get_running_loop().time())


async def _until_left(
    port: Port, settings: ServerSettings, callbacks: ServerCallbacks, certificate: Certificate | None
) -> None:
    watching = None
    if certificate is not None:
        watch = certificate.watch(callbacks.certificate_refused, settings.tls_poll_seconds)
        watching = asyncio.create_task(watch)
    try:
        await callbacks.shutdown.requested.wait()
        await _leave(port, settings, callbacks)
    finally:
        if watching is not None:
            watching.cancel()
        await port.close()


async def _leave(port: Port, settings: ServerSettings, callbacks: ServerCallbacks) -> None:
    forced = callbacks.shutdown.forced
    callbacks.leaving()
    port.leave()
    await _unless(callbacks.shutdown.undelayed, asyncio.sleep(settings.drain_seconds), settings.drain_seconds)
    port.stop_accepting()
    if await _is_empty_in_time(port, settings, callbacks.shutdown):
        return
    callbacks.shutdown_streams()
    await _unless(forced, port.empty(), _STREAM_END_SECONDS)


async def _is_empty_in_time(port: Port, settings: ServerSettings, shutdown: Shutdown) -> bool:
    """Whether running requests end within the grace, or within a shorter one that is requested meanwhile."""
    if not shutdown.undelayed.is_set():
        if await _unless(shutdown.undelayed, port.empty(), settings.grace_seconds):
            return True
        if not shutdown.undelayed.is_set():
            return False
    grace_seconds = min(settings.grace_seconds, shutdown.grace_seconds)
    return await _unless(shutdown.forced, port.empty(), grace_seconds)


async def _unless(forced: asyncio.Event, work: Coroutine[Any, Any, None], seconds: float) -> bool:
    """Whether the work is done in time, before `forced` is set."""
    working = asyncio.ensure_future(work)
    waiting = asyncio.ensure_future(forced.wait())
    try:
        await asyncio.wait((working, waiting), timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        return working.done()
    finally:
        working.cancel()
        waiting.cancel()


def _signals(callbacks: ServerCallbacks, certificate: Certificate | None) -> ExitStack:
    """Makes SIGTERM and SIGINT request a shutdown and SIGHUP a reload; does nothing outside the main thread.

    Closing the stack restores the former handlers. That happens at the end, or when a shutdown is requested before
    anything is served.
    """
    signals = ExitStack()
    if threading.current_thread() is not threading.main_thread():
        return signals
    shutdown = callbacks.shutdown
    reread = partial(_read_again, callbacks, certificate)
    actions: dict[signal.Signals, Callable[[], None]] = {
        signal.SIGTERM: shutdown.request,
        signal.SIGINT: partial(shutdown.request, _INTERRUPT_GRACE_SECONDS),
        signal.SIGHUP: shutdown.begin if callbacks.reread is None else reread,  # both shells and the kernel send one
    }
    loop = asyncio.get_running_loop()
    for number, action in actions.items():
        signals.callback(signal.signal, number, signal.getsignal(number))
        loop.add_signal_handler(number, action)
        signals.callback(loop.remove_signal_handler, number)
    return signals


def _read_again(callbacks: ServerCallbacks, certificate: Certificate | None) -> None:
    reason = certificate.reload() if certificate is not None else None
    if reason is not None:
        callbacks.certificate_refused(reason)
    if callbacks.reread is not None:
        callbacks.reread()


def run(main: Coroutine[Any, Any, None]) -> None:
    """Runs a coroutine to its end on uvloop."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main)
