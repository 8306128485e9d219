"""One simulated Ollama pod on a port of its own."""

import asyncio
import time
from collections.abc import Callable

from ai_gateway.simulator.answer import Answer
from ai_gateway.simulator.faults import Faults
from ai_gateway.simulator.go_json import decode as decode_json
from ai_gateway.simulator.go_json import encode, fold
from ai_gateway.simulator.http1 import Request
from ai_gateway.simulator.listener import Listener
from ai_gateway.simulator.misbehaving import misbehave
from ai_gateway.simulator.origins import cors_headers, is_host_allowed, is_origin_allowed
from ai_gateway.simulator.pod import JSON, Call, Ledger, Pod, new_leasing
from ai_gateway.simulator.refusals import CloudRefusal, Refusal, Unreadable, native_error, openai_error
from ai_gateway.simulator.registry import Registry
from ai_gateway.simulator.routes import Routes, dispatch, routes_of
from ai_gateway.simulator.settings import Settings
from ai_gateway.simulator.store import Store

CONTROL_START = "/simulator/"

Control = Callable[["Endpoint", str, Request, Answer], None]


class Endpoint:
    """A pod with its port, faults and counters. Make it inside a running event loop.

    `faults` may be changed at any time. `kill` makes the pod die, `restart` makes it come back: with the same
    models on disk, nothing loaded. `control` answers requests under CONTROL_START.
    """

    def __init__(
        self,
        settings: Settings,
        at: tuple[str, int],
        control: Control,
        clock: Callable[[], float] = time.time,
        registry: Registry | None = None,
    ) -> None:
        self.settings = settings
        self._control = control
        self._loop = asyncio.get_running_loop()
        self._listener = Listener(*at, self._serve)
        self._is_killed = True
        self._lull: asyncio.TimerHandle | None = None  # ends a fault that closes the port for a time
        self.faults = Faults(self._loop.time, self._follow_faults)
        self.ledger = Ledger(settings.remembered_requests)
        self.pod = Pod(settings, Store(settings, clock, registry), self.ledger, clock, new_leasing(settings))
        self._routes: Routes = routes_of(self.pod)

    @property
    def address(self) -> str:
        """`host:port`."""
        host = f"[{self._listener.host}]" if ":" in self._listener.host else self._listener.host
        return f"{host}:{self._listener.port}"

    @property
    def url(self) -> str:
        """`http://host:port`."""
        return f"http://{self.address}"

    @property
    def is_open(self) -> bool:
        """Whether it accepts connections."""
        return self._listener.is_open

    @property
    def open_connections(self) -> int:
        """How many clients are connected."""
        return len(self._listener.connections)

    def start(self) -> None:
        """Accepts connections from now on."""
        self._is_killed = False
        self._follow_faults()

    def kill(self) -> None:
        """Drops all connections at once and refuses new ones; loaded models are lost."""
        self._is_killed = True
        self._follow_faults()
        self._listener.drop_all()
        self.pod.leasing.close()
        self.pod.leasing = new_leasing(self.settings)

    def restart(self, *, keeps_disk: bool = True) -> None:
        """Kills the pod if it is alive, and starts it again on the same port, with an empty disk if it was lost."""
        if not self._is_killed:
            self.kill()
        if keeps_disk:
            self.pod.store.restart()
        else:
            self.pod.store.wipe()
        self.start()

    async def stop(self) -> None:
        """Ends it for good and releases the port."""
        self._is_killed = True
        if self._lull is not None:
            self._lull.cancel()
        self.pod.leasing.close()
        await self._listener.release()

    def _follow_faults(self) -> None:
        """Opens or closes the port, as the faults and the pod's state require."""
        if self._lull is not None:
            self._lull.cancel()
            self._lull = None
        if self._is_killed:
            self._listener.close()
            return
        if self.faults.refuses:
            self._listener.close()
        else:
            self._listener.open()
        end = self.faults.next_end()
        if end is not None:
            self._lull = self._loop.call_at(end + 0.001, self._follow_faults)

    async def _serve(self, request: Request, answer: Answer) -> None:
        if request.path.startswith(CONTROL_START):
            self._control(self, request.path.removeprefix(CONTROL_START), request, answer)
            return
        self.ledger.note(request)
        self.ledger.running += 1
        try:
            await self._answer(request, answer)
            await answer.flush()
        except asyncio.CancelledError:
            self.ledger.cancelled += 1
            raise
        finally:
            self.ledger.running -= 1

    async def _answer(self, request: Request, answer: Answer) -> None:
        if not self._is_allowed(request):
            answer.whole(403, "", b"")
            return
        active = self.faults.active()
        faults = self.faults.take(request.path, _model_of(request.body)) if active else ()
        call = Call(request, answer, tuple(faults))
        answer.extra_headers += cors_headers(request.header("origin"), request.method)
        if request.method == "OPTIONS" and request.header("origin"):
            answer.whole(204, "", b"")
            return
        try:
            if not await misbehave(call):
                await dispatch(self._routes, call)
        except Refusal as refusal:
            _refuse(call, refusal)

    def _is_allowed(self, request: Request) -> bool:
        host = request.header("host")
        if not is_origin_allowed(request.header("origin"), host):
            return False
        return self._listener.host not in ("127.0.0.1", "::1") or is_host_allowed(host)


def _refuse(call: Call, refusal: Refusal) -> None:
    """Answers with an error in the path's shape; on /v1 Ollama's writer adds a line end, its reader does not."""
    is_openai = call.request.path.startswith("/v1/") and not isinstance(refusal, CloudRefusal)
    if is_openai and isinstance(refusal, Unreadable):
        call.reply(openai_error(refusal), refusal.status)
    elif is_openai:
        call.answer.whole(refusal.status, JSON, encode(openai_error(refusal)) + b"\n")
    else:
        call.reply(native_error(refusal), refusal.status)


def _model_of(body: bytes) -> str:
    """The model of a request, "" if none; read only while faults are active."""
    try:
        value = decode_json(body)
    except Refusal:
        return ""
    if not isinstance(value, dict):
        return ""
    model = next((item for key, item in value.items() if fold(key) == "model"), "")
    return model if isinstance(model, str) else ""
