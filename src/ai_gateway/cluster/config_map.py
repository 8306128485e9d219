"""Follows config.yml in a ConfigMap through the API: under a second from `kubectl edit` to its effect."""

import asyncio
import logging
from base64 import b64decode
from binascii import Error as NotBase64
from pathlib import Path
from typing import Final

import msgspec

from ai_gateway.cluster.api import ApiServer
from ai_gateway.cluster.bell import Bell
from ai_gateway.cluster.events import Events, Subject
from ai_gateway.cluster.mirror import Collection, Manner, Mirror
from ai_gateway.config.live import Live, digest_of
from ai_gateway.config.standing_in import StandIn
from ai_gateway.config.watching import ConfigFile

log = logging.getLogger("ai_gateway.config")

# The same as for discovery by default; that config is not known yet when this watch begins.
MANNER: Final = Manner(watch_seconds=300.0, read_seconds=15.0)
# How often it is looked whether the first answer has come, or what stands in its way.
LOOK_SECONDS: Final = 0.2
# How soon it shows that the API server cannot be followed, and that it can again.
TROUBLE_SECONDS: Final = 1.0
# Without a word from the API server until a file stands in: longer than between two tries to list.
AWAY_SECONDS: Final = 10.0
STANDS_IN: Final = "; the file stands in"


class Named(msgspec.Struct, frozen=True):
    """A key of a ConfigMap; the gateway's own namespace unless one is named."""

    name: str
    namespace: str | None = None
    key: str = "config.yml"

    def __str__(self) -> str:
        return f"ConfigMap {self.namespace or '.'}/{self.name}, key {self.key}"


def parse_named(text: str) -> Named:
    """`[NAMESPACE/]NAME[:KEY]` as a Named. Raises ValueError with a sentence that says what is wrong."""
    place, _, key = text.partition(":")
    namespace, _, name = place.rpartition("/")
    if not name or "/" in namespace or " " in text or text.endswith(":"):
        raise ValueError(f"{text!r} is not [NAMESPACE/]NAME[:KEY]")
    return Named(name, namespace or None, key or "config.yml")


class _Meta(msgspec.Struct, rename="camel"):
    name: str
    namespace: str
    uid: str = ""
    resource_version: str = ""


class _ConfigMap(msgspec.Struct, rename="camel"):
    metadata: _Meta
    data: dict[str, str] | None = None
    binary_data: dict[str, str] | None = None
    immutable: bool | None = None


class ConfigMap:
    """The ConfigMap as the source of the config. Changed by `follow` alone."""

    def __init__(
        self, named: Named, api: ApiServer, live: Live, manner: Manner = MANNER, stand_in: StandIn | None = None
    ) -> None:
        self._named = named
        self._api = api
        self._live = live
        self._manner = manner
        self._stand_in = stand_in or StandIn(live)
        self._events = Events(api)
        self._last: tuple[str, bytes | None, str] | None = None  # the object, its content, or why there is none
        self._trouble: str | None = None
        self._is_told_immutable = False

    @property
    def events(self) -> Events:
        """What it tells Kubernetes."""
        return self._events

    def reread(self) -> None:
        """The content counts as new with the next look though it may be the same: what it names may have changed."""
        self._live.forget()
        self._last = None

    async def follow(self) -> None:
        """Takes each change as it comes, until cancelled."""
        bell = Bell(settle_seconds=0.0)
        namespace = self._named.namespace
        if namespace is None:
            namespace = await asyncio.to_thread(self._api.access.namespace)
        collection = Collection(
            f"/api/v1/namespaces/{namespace}/configmaps",
            {"fieldSelector": f"metadata.name={self._named.name}"},
            f"configmaps {self._named.name!r} in namespace {namespace}",
        )
        mirror = Mirror(self._api, collection, self._manner, _read, bell.ring)
        reporting = asyncio.create_task(self._events.run())
        mirror.start()
        try:
            while True:
                await self._round(mirror, namespace)
                await bell.wait(TROUBLE_SECONDS if mirror.is_listed else LOOK_SECONDS)
        finally:
            mirror.stop()
            reporting.cancel()

    async def _round(self, mirror: Mirror[_ConfigMap], namespace: str) -> None:
        complaint = mirror.complaint  # no event tells of it: the copy stays as it is
        self._trouble = None
        if not mirror.is_listed:
            if complaint:
                self._miss(f"ConfigMap {namespace}/{self._named.name} cannot be read: {complaint}", is_passing=True)
        elif complaint and self._has_been_away(mirror):
            self._stand_in.step_in(mirror.heard_at or 0.0)
            await self._look(None, namespace)
        else:
            await self._look(mirror.values(), namespace)
        if mirror.is_listed and complaint:
            self._trouble = f"edits are not seen now: {complaint}{STANDS_IN if self._stand_in.is_used else ''}"
        self._live.trouble = "; ".join(filter(None, (self._trouble, self._stand_in.trouble))) or None

    def _has_been_away(self, mirror: Mirror[_ConfigMap]) -> bool:
        return self._manner.clock() - (mirror.heard_at or 0.0) >= AWAY_SECONDS

    async def _look(self, values: list[_ConfigMap] | None, namespace: str) -> None:
        try:
            if values is not None:
                await self._take(values, namespace)
            await self._live.look_again()
        except Exception as fault:  # one of ours in one reload must not end all later ones
            self._live.fail(fault)
            self._last = None

    async def _take(self, values: list[_ConfigMap], namespace: str) -> None:
        if not values:
            self._last = None
            self._stand_in.step_in(self._manner.clock())
            self._miss(f"there is no ConfigMap {self._named.name} in namespace {namespace}")
            return
        found = values[0]
        content = _content(found, self._named.key)
        if content is None:
            self._miss_key(found)
            return
        async with self._stand_in.stepping_back(content) as is_needed:
            now = (found.metadata.uid, content, "")
            if now == self._last and not is_needed:
                return  # only its labels or other keys were changed
            self._last = now
            self._note_immutable(found)
            if await self._live.offer(content):
                self._report(found, digest_of(content), "; ".join(map(str, self._live.complaints)))

    def _miss_key(self, found: _ConfigMap) -> None:
        keys = ", ".join(sorted({*(found.data or {}), *(found.binary_data or {})})) or "no key at all"
        meta = found.metadata
        sentence = f"ConfigMap {meta.namespace}/{meta.name} has no key {self._named.key!r}, but {keys}"
        self._stand_in.step_in(self._manner.clock())
        self._miss(sentence)
        if (meta.uid, None, sentence) != self._last:
            self._last = (meta.uid, None, sentence)
            self._report(found, digest_of(keys.encode()), sentence)

    def _miss(self, sentence: str, is_passing: bool = False) -> None:
        """There is no content here. Where a file stands in, that is in the way of nothing but edits."""
        if self._stand_in.is_used:
            self._trouble = sentence + STANDS_IN
            return
        fault = self._stand_in.fault
        whole = f"{sentence}; nor is there a file: {fault}" if fault else sentence
        self._live.lack(whole, is_passing or self._stand_in.is_awaited)

    def _note_immutable(self, found: _ConfigMap) -> None:
        if found.immutable and not self._is_told_immutable:
            self._is_told_immutable = True
            log.warning("config: ConfigMap %s is immutable: a change needs a new one of that name", found.metadata.name)

    def _report(self, found: _ConfigMap, digest: str, message: str) -> None:
        meta = found.metadata
        subject = Subject("ConfigMap", meta.namespace, meta.name, meta.uid, meta.resource_version)
        self._events.report(subject, digest, message)


def sources(
    path: Path | None, named: Named | None, api: ApiServer, live: Live
) -> tuple[ConfigFile | None, ConfigMap | None]:
    """Those of the config that are named. Beside a ConfigMap the file only stands in."""
    if named is None:
        return (ConfigFile(path, live) if path else None), None
    stand_in = StandIn(live, has_file=path is not None)
    return (ConfigFile(path, stand_in) if path else None), ConfigMap(named, api, live, stand_in=stand_in)


def _read(content: bytes) -> _ConfigMap | None:
    return msgspec.json.decode(content, type=_ConfigMap)


def _content(found: _ConfigMap, key: str) -> bytes | None:
    text = (found.data or {}).get(key)
    if text is not None:
        return text.encode()
    binary = (found.binary_data or {}).get(key)
    try:
        return None if binary is None else b64decode(binary, validate=True)
    except NotBase64:
        return None
