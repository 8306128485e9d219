"""Ollama as the machine of test_machine.py needs it: room for one runner, and victims of its own choice."""

from ai_gateway.balancing.load import Load
from ai_gateway.balancing.resident import HeldModel, Resident, Weights

A, COPY, B, C = "a:latest", "copy:latest", "b:latest", "c:latest"
MODELS = (A, COPY, B, C)
WEIGHTS = {A: Weights("blob of a"), COPY: Weights("blob of a"), B: Weights("blob of b"), C: Weights("blob of c")}
HELD = {name: HeldModel(name, name, 100, 0) for name in MODELS}
ROOMS = 1


def key(model: str) -> str:
    """The runner of a name."""
    return WEIGHTS[model].blob


class Ollama:
    """What one process has in memory: by runner, the name that loaded it."""

    def __init__(self) -> None:
        self.loaded: dict[str, str] = {}

    def load(self, model: str) -> None:
        """It makes room for itself."""
        if key(model) not in self.loaded and len(self.loaded) >= ROOMS:
            self.loaded.pop(next(iter(self.loaded)))
        self.loaded.setdefault(key(model), model)

    def unload(self, runner: str) -> None:
        """It lets go of a runner."""
        self.loaded.pop(runner, None)

    def carry_out(self, load: Load) -> None:
        """What a load asks for now."""
        if load.phase == "loading":
            self.load(load.model)
        elif load.victim is not None:
            self.unload(load.victim.key)

    def residents(self) -> tuple[Resident, ...]:
        """Its /api/ps."""
        return tuple(Resident(name, name, 100, 100, 4096) for name in self.loaded.values())
