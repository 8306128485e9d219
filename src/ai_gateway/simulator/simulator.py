"""Several simulated Ollama pods in one event loop, and one port that controls them all."""

from collections.abc import Sequence
from types import TracebackType
from typing import Self

import msgspec

from ai_gateway.simulator.answer import Answer
from ai_gateway.simulator.control import answer_control
from ai_gateway.simulator.endpoint import Endpoint
from ai_gateway.simulator.http1 import Request
from ai_gateway.simulator.listener import Listener
from ai_gateway.simulator.registry import Registry
from ai_gateway.simulator.settings import Settings

Address = tuple[str, int]


class Simulator:
    """Endpoints that behave like Ollama.

        async with Simulator(Settings(models=("llama3:latest",)), count=3) as simulator:
            simulator.addresses                                # ("127.0.0.1:40001", ...)
            simulator.endpoints[0].faults.add(Fault(kind="busy", count=1))
            simulator.endpoints[1].kill()
            simulator.registry.publish(Content(name="llama3:latest", content="newer"))

    `settings` is for all endpoints, or one for each (then `count` is ignored). `listen` is the first address, others
    use the ports after it; port 0 gives each a free one. `control` is the control server's address, if any.
    """

    def __init__(
        self,
        settings: Settings | Sequence[Settings] | None = None,
        count: int = 1,
        listen: Address = ("127.0.0.1", 0),
        control: Address | None = None,
    ) -> None:
        one = settings if isinstance(settings, Settings) else Settings()
        self._settings = [one] * count if settings is None or isinstance(settings, Settings) else list(settings)
        self._listen = listen
        self._control_at = control
        self._control: Listener | None = None
        self.registry = Registry()  # of all endpoints
        self.endpoints: tuple[Endpoint, ...] = ()

    @property
    def addresses(self) -> tuple[str, ...]:
        """`host:port` of each endpoint; none before the start."""
        return tuple(endpoint.address for endpoint in self.endpoints)

    @property
    def urls(self) -> tuple[str, ...]:
        """`http://host:port` of each endpoint; none before the start."""
        return tuple(endpoint.url for endpoint in self.endpoints)

    @property
    def control_address(self) -> str | None:
        """`host:port` of the control server, if there is one."""
        return None if self._control is None else f"{self._control.host}:{self._control.port}"

    async def start(self) -> None:
        """Binds all ports and accepts connections. Raises OSError if a port is in use; then none stays bound."""
        host, port = self._listen
        try:
            for index, settings in enumerate(self._settings):
                endpoint = Endpoint(
                    settings, (host, port + index if port else 0), answer_control, registry=self.registry
                )
                self.endpoints += (endpoint,)
                endpoint.start()
            if self._control_at is not None:
                self._control = Listener(*self._control_at, self._serve_control)
                self._control.open()
        except OSError:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Ends all endpoints and their connections at once."""
        for endpoint in self.endpoints:
            await endpoint.stop()
        if self._control is not None:
            await self._control.release()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def _serve_control(self, request: Request, answer: Answer) -> None:
        """`GET /endpoints` lists them; `/endpoints/N/...` is endpoint N's control path, from 0."""
        parts = request.path.strip("/").split("/")
        if parts == ["endpoints"]:
            rows = [{"index": i, "address": e.address, "is_open": e.is_open} for i, e in enumerate(self.endpoints)]
            answer.whole(200, "application/json", msgspec.json.encode({"endpoints": rows}) + b"\n")
            return
        number = int(parts[1]) if len(parts) > 2 and parts[0] == "endpoints" and parts[1].isdigit() else -1
        if 0 <= number < len(self.endpoints):
            answer_control(self.endpoints[number], "/".join(parts[2:]), request, answer)
        else:
            answer.whole(404, "application/json", b'{"error":"use /endpoints or /endpoints/N/faults"}\n')
