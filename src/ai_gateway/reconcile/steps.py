"""The steps by which an endpoint comes to hold what config.yml says. Each may be repeated; who carries one out looks
again before."""

from collections.abc import Mapping
from typing import Any, Final, Literal, TypeAlias

import msgspec

from ai_gateway.balancing.endpoint import Endpoint


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """Something to do on an endpoint for the model with this key."""

    endpoint: Endpoint
    key: str


class Pull(Step, frozen=True, kw_only=True):
    """Pulls `tag`, by the name that config.yml has for it. `is_new`: the endpoint does not have it. `is_refresh`: what
    it had before is in place, so nothing waits for it."""

    tag: str
    name: str
    is_new: bool
    is_refresh: bool = False
    is_insecure: bool = False


class Copy(Step, frozen=True, kw_only=True):
    """Gives the content that `source` has, by its digest, a made name."""

    source: str
    digest: str
    name: str


class Create(Step, frozen=True, kw_only=True):
    """Makes a model under a made name from a base that is a made name, too: it cannot move meanwhile."""

    base: str
    name: str
    parameters: Mapping[str, Any]
    system: str | None


class LetGo(Step, frozen=True, kw_only=True):
    """Lets the runner that Ollama finds by `name` leave soon after its last call."""

    name: str
    runner: str


class Delete(Step, frozen=True, kw_only=True):
    """Takes `name` away, if its digest is still this one (None: whatever it is)."""

    name: str
    digest: str | None


StepKind = Literal["pull", "copy", "create", "let_go", "delete"]
StepOutcome = Literal["done", "failed", "dropped"]  # dropped: not due any more, or cut
KINDS: Final[dict[type[Step], StepKind]] = {
    Pull: "pull",
    Copy: "copy",
    Create: "create",
    LetGo: "let_go",
    Delete: "delete",
}


def in_words(step: Step) -> str:
    """What it does, for the log: never a system message, which is nobody's business there."""
    if isinstance(step, Pull):
        return f"pull of {step.name}"
    if isinstance(step, Copy):
        return f"copy of {step.source} as {step.name}"
    if isinstance(step, Create):
        return f"creation of {step.name} from {step.base}"
    if isinstance(step, LetGo):
        return f"letting go of {step.name}"
    return f"deletion of {step.name}" if isinstance(step, Delete) else type(step).__name__


class Bring(msgspec.Struct, frozen=True):
    """The wanted name is to be loaded where another version of the model is, whose calls go on meanwhile."""

    endpoint: Endpoint
    key: str
    name: str


class Blocked(msgspec.Struct, frozen=True):
    """The version of the config cannot be made there: nothing is pulled, and what it is made of is not on the disk."""


Next: TypeAlias = Step | Bring | Blocked | None  # what comes next on an endpoint; None: it has what the config says


def steps_left(step: Next, tag: str) -> int:
    """How many come at most until a model of this tag is in place: this one first."""
    if isinstance(step, Bring):
        return 1
    if isinstance(step, Create):
        return 2
    if isinstance(step, Copy):
        return 3 if step.source == tag else 5  # else the former version gets a name before anything is pulled
    return 4 if isinstance(step, Pull) else 5
