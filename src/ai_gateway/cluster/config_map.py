"""Follows config.yml in a ConfigMap through the API: under a second from `kubectl edit` to its effect."""

import asyncio
import logging
from base64 import b64decode
from binascii import Error as NotBase64
from pathlib import Path
from typing import Final

import msgspec

from ai_gateway.cluster.api import ApiServer
from ai_gateway.cluster.change_notice import ChangeNotice
from ai_gateway.cluster.events import Events, Subject
from ai_gateway.cluster.reflector import Collection, Reflector, WatchSettings
from ai_gateway.config.standing_in import StandIn
from ai_gateway.config.state import ConfigState, digest_of
from ai_gateway.config.watching import ConfigFile

log = logging.getLogger("ai_gateway.config")

# The same as for discovery by default; that config is not known yet when this watch begins.
WATCH_SETTINGS: Final = WatchSettings(watch_seconds=300.0, read_seconds=15.0)
# How often it is looked whether the first answer has come, or what stands in its way.
LOOK_SECONDS: Final = 0.2
# How soon it shows that the API server cannot be followed, and that it can again.
FAILURE_SECONDS: Final = 1.0
# Without a word from the API server until a file stands in: longer than between two tries to list.
AWAY_SECONDS: Final = 10.0
STANDS_IN: Final = "; the file stands in"


class ConfigMapRef(msgspec.Struct, frozen=True):
    """A key of a ConfigMap; the gateway's own namespace unless one is named."""

    name: str
    namespace: str | None = None
    key: str = "config.yml"

    def __str__(self) -> str:
        return f"ConfigMap {self.namespace or '.'}/{self.name}, key {self.key}"


def parse_named(text: str) -> ConfigMapRef:
    """`[NAMESPACE/]NAME[:KEY]` as a Named. Raises ValueError with a sentence that says what is wrong."""
    place, _, key = text.partition(":")
    namespace, _, name = place.rpartition("/")
    if not name or "/" in namespace or " " in text or text.endswith(":"):
        raise ValueError(f"{text!r} is not [NAMESPACE/]NAME[:KEY]")
    return ConfigMapRef(name, namespace or None, key or "config.yml")


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
        self,
        named: ConfigMapRef,
        api: ApiServer,
        live: ConfigState,
        settings: WatchSettings = WATCH_SETTINGS,
        stand_in: StandIn | None = None,
    ) -> None:
        self._named = named
        self._api = api
        self._live = live
        self._settings = settings
        self._stand_in = stand_in or StandIn(live)
        self._events = Events(api)
        self._last: tuple[str, bytes | None, str] | None = None  # the object, its content, or why there is none
        self._unseen_reason: str | None = None
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
        notice = ChangeNotice(settle_seconds=0.0)
        namespace = self._named.namespace
        if namespace is None:
            namespace = await asyncio.to_thread(self._api.access.namespace)
        collection = Collection(
            f"/api/v1/namespaces/{namespace}/configmaps",
            {"fieldSelector": f"metadata.name={self._named.name}"},
            f"configmaps {self._named.name!r} in namespace {namespace}",
        )
        reflector = Reflector(self._api, collection, self._settings, _read, notice.ring)
        reporting = asyncio.create_task(self._events.run())
        reflector.start()
        try:
            while True:
                await self._round(reflector, namespace)
                await notice.wait(FAILURE_SECONDS if reflector.is_listed else LOOK_SECONDS)
        finally:
            reflector.stop()
            reporting.cancel()

    async def _round(self, reflector: Reflector[_ConfigMap], namespace: str) -> None:
        reason = reflector.reason  # no event tells of it: the copy stays as it is
        self._unseen_reason = None
        if not reflector.is_listed:
            if reason:
                self._miss(f"ConfigMap {namespace}/{self._named.name} cannot be read: {reason}", is_passing=True)
        elif reason and self._has_been_away(reflector):
            self._stand_in.step_in(reflector.heard_at or 0.0)
            await self._check(None, namespace)
        else:
            await self._check(reflector.values(), namespace)
        if reflector.is_listed and reason:
            self._unseen_reason = f"edits are not seen now: {reason}{STANDS_IN if self._stand_in.is_used else ''}"
        self._live.unseen_reason = "; ".join(filter(None, (self._unseen_reason, self._stand_in.unseen_reason))) or None

    def _has_been_away(self, reflector: Reflector[_ConfigMap]) -> bool:
        return self._settings.clock() - (reflector.heard_at or 0.0) >= AWAY_SECONDS

    async def _check(self, values: list[_ConfigMap] | None, namespace: str) -> None:
        try:
            if values is not None:
                await self._take(values, namespace)
            await self._live.check_again()
        except Exception as failure:  # one of ours in one reload must not end all later ones
            self._live.fail(failure)
            self._last = None

    async def _take(self, values: list[_ConfigMap], namespace: str) -> None:
        if not values:
            self._last = None
            self._stand_in.step_in(self._settings.clock())
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
            if await self._live.submit(content):
                self._report(found, digest_of(content), "; ".join(map(str, self._live.reasons)))

    def _miss_key(self, found: _ConfigMap) -> None:
        keys = ", ".join(sorted({*(found.data or {}), *(found.binary_data or {})})) or "no key at all"
        meta = found.metadata
        sentence = f"ConfigMap {meta.namespace}/{meta.name} has no key {self._named.key!r}, but {keys}"
        self._stand_in.step_in(self._settings.clock())
        self._miss(sentence)
        if (meta.uid, None, sentence) != self._last:
            self._last = (meta.uid, None, sentence)
            self._report(found, digest_of(keys.encode()), sentence)

    def _miss(self, sentence: str, is_passing: bool = False) -> None:
        """There is no content here. Where a file stands in, that is in the way of nothing but edits."""
        if self._stand_in.is_used:
            self._unseen_reason = sentence + STANDS_IN
            return
        failure = self._stand_in.failure
        whole = f"{sentence}; nor is there a file: {failure}" if failure else sentence
        self._live.config_missing(whole, is_passing or self._stand_in.is_awaited)

    def _note_immutable(self, found: _ConfigMap) -> None:
        if found.immutable and not self._is_told_immutable:
            self._is_told_immutable = True
            log.warning("config: ConfigMap %s is immutable: a change needs a new one of that name", found.metadata.name)

    def _report(self, found: _ConfigMap, digest: str, message: str) -> None:
        meta = found.metadata
        subject = Subject("ConfigMap", meta.namespace, meta.name, meta.uid, meta.resource_version)
        self._events.report(subject, digest, message)


def sources(
    path: Path | None, named: ConfigMapRef | None, api: ApiServer, live: ConfigState
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
