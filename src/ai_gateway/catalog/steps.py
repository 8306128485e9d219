"""The steps by which an endpoint comes to hold what config.yml says. Each may be repeated; who carries one out looks
again before."""

from collections.abc import Mapping
from typing import Any

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


class Bring(msgspec.Struct, frozen=True):
    """The wanted name is to be loaded where another version of the model is, whose calls go on meanwhile."""

    endpoint: Endpoint
    key: str
    name: str
