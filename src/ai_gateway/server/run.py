"""Serving from the first address taken to the last connection closed."""

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

# A person at the keyboard does not wait half a minute.
_INTERRUPT_GRACE_SECONDS = 5.0
# For the error events of streams to reach their clients.
_FAREWELL_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """Addresses as `HOST:PORT`, times in seconds. TLS is for the API port; probes reach the admin port in plain."""

    listen: str = "127.0.0.1:8080"
    admin: str = "127.0.0.1:9090"
    tls: CertificateFiles | None = None
    tls_poll_seconds: float = 2.0  # how often its files are looked at; polling works with every kind of mount
    drain_seconds: float = 0.0
    grace_seconds: float = 30.0
    limits: FramingLimits = field(default_factory=FramingLimits)
    idle_seconds: Callable[[], float] | None = None  # in place of the limits'; may change while it runs


class Shutdown:
    """Whether the server is to leave, and how patiently. Changes at each `ask`; a signal asks too."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.hurried = asyncio.Event()
        self.undelayed = asyncio.Event()  # Services are not waited for
        self.grace_seconds = float("inf")
        self._is_signalled = False

    def begin(self) -> None:
        """Leave, as a pre-stop hook wants it: the signal that follows is no second one."""
        self.asked.set()

    def ask(self, grace_seconds: float = float("inf")) -> None:
        """Leave, with this much patience at most; asked again: at once."""
        if self._is_signalled:
            self.hurried.set()
        # Whoever states a patience of their own does not wait for Services to notice.
        if self._is_signalled or grace_seconds < float("inf"):
            self.undelayed.set()
        self._is_signalled = True
        self.grace_seconds = min(self.grace_seconds, grace_seconds)
        self.asked.set()


def _ignore(*_: object) -> None:
    """Stands for a callback that nobody gave."""


@dataclass(frozen=True, slots=True)
class ServerCallbacks:
    """How the caller follows the server. All are called in the loop and must not wait.

    `on_listening(api_urls, admin_urls)` once everything is accepted; `leaving()` when the server is asked to leave;
    `shutdown_streams()` when the patience with running requests is over; `refused(status, code, peer)` for each
    request refused before the app saw it; `certificate_refused(complaint)` when changed TLS files are of no use.
    `reread()` on SIGHUP, beside the certificate; without it SIGHUP asks for the departure, as SIGTERM.
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
    """Serve both apps until asked to leave; see the package's docstring. Asked before that, it ends without serving."""
    callbacks = callbacks or ServerCallbacks()
    certificate = Certificate(settings.tls) if settings.tls is not None else None
    api_port, admin_port = _bind(app, admin, settings, callbacks, certificate)
    try:
        with _signals(callbacks, certificate) as hearing:
            async with AsyncExitStack() as stack:
                beginning = _begin(stack, around, (api_port, admin_port))
                if await _is_begun(beginning, callbacks.shutdown, hearing.close):
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


async def _is_begun(beginning: Coroutine[Any, Any, None], shutdown: Shutdown, when_asked: Callable[[], None]) -> bool:
    """Whether it got to its end before the departure was asked for. It is cut off then: nobody was served yet."""
    try:
        async with asyncio.timeout(None) as patience:
            asking = asyncio.create_task(_end_when_asked(patience, shutdown, when_asked))
            try:
                await beginning
            finally:
                asking.cancel()
    except TimeoutError:
        if not patience.expired():
            raise
    return not shutdown.asked.is_set()


async def _end_when_asked(patience: asyncio.Timeout, shutdown: Shutdown, when_asked: Callable[[], None]) -> None:
    await shutdown.asked.wait()
    when_asked()
    patience.reschedule(asyncio.get_running_loop().time())


async def _until_left(
    port: Port, settings: ServerSettings, callbacks: ServerCallbacks, certificate: Certificate | None
) -> None:
    watching = None
    if certificate is not None:
        watch = certificate.watch(callbacks.certificate_refused, settings.tls_poll_seconds)
        watching = asyncio.create_task(watch)
    try:
        await callbacks.shutdown.asked.wait()
        await _leave(port, settings, callbacks)
    finally:
        if watching is not None:
            watching.cancel()
        await port.close()


async def _leave(port: Port, settings: ServerSettings, callbacks: ServerCallbacks) -> None:
    hurried = callbacks.shutdown.hurried
    callbacks.leaving()
    port.leave()
    await _unless(callbacks.shutdown.undelayed, asyncio.sleep(settings.drain_seconds), settings.drain_seconds)
    port.stop_accepting()
    if await _is_empty_in_time(port, settings, callbacks.shutdown):
        return
    callbacks.shutdown_streams()
    await _unless(hurried, port.empty(), _FAREWELL_SECONDS)


async def _is_empty_in_time(port: Port, settings: ServerSettings, shutdown: Shutdown) -> bool:
    """Whether running requests end within the grace, or within a patience that is stated while they run."""
    if not shutdown.undelayed.is_set():
        if await _unless(shutdown.undelayed, port.empty(), settings.grace_seconds):
            return True
        if not shutdown.undelayed.is_set():
            return False
    grace_seconds = min(settings.grace_seconds, shutdown.grace_seconds)
    return await _unless(shutdown.hurried, port.empty(), grace_seconds)


async def _unless(hurried: asyncio.Event, work: Coroutine[Any, Any, None], seconds: float) -> bool:
    """Whether the work was done in time, before the second signal."""
    working = asyncio.ensure_future(work)
    waiting = asyncio.ensure_future(hurried.wait())
    try:
        await asyncio.wait((working, waiting), timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        return working.done()
    finally:
        working.cancel()
        waiting.cancel()


def _signals(callbacks: ServerCallbacks, certificate: Certificate | None) -> ExitStack:
    """SIGTERM and SIGINT ask for the departure, SIGHUP to read again; only the main thread can hear them.

    At its end, and already when the departure is asked for before anything is served, whoever heard them before hears
    them again, until the process has ended.
    """
    hearing = ExitStack()
    if threading.current_thread() is not threading.main_thread():
        return hearing
    shutdown = callbacks.shutdown
    reread = partial(_read_again, callbacks, certificate)
    heard: dict[signal.Signals, Callable[[], None]] = {
        signal.SIGTERM: shutdown.ask,
        signal.SIGINT: partial(shutdown.ask, _INTERRUPT_GRACE_SECONDS),
        signal.SIGHUP: shutdown.begin if callbacks.reread is None else reread,  # shells and kernel both send one
    }
    loop = asyncio.get_running_loop()
    for number, answer in heard.items():
        hearing.callback(signal.signal, number, signal.getsignal(number))
        loop.add_signal_handler(number, answer)
        hearing.callback(loop.remove_signal_handler, number)
    return hearing


def _read_again(callbacks: ServerCallbacks, certificate: Certificate | None) -> None:
    reason = certificate.reload() if certificate is not None else None
    if reason is not None:
        callbacks.certificate_refused(reason)
    if callbacks.reread is not None:
        callbacks.reread()


def run(main: Coroutine[Any, Any, None]) -> None:
    """Run to the end on uvloop."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main)
