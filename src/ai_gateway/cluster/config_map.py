"""Follows config.yml in a ConfigMap through the API. A `kubectl edit` takes effect within a second."""

import asyncio
import logging
from base64 import b64decode
from binascii import Error as NotBase64
from pathlib import Path
from typing import Final

import msgspec

from ai_gateway.cluster.api import ApiServer
from ai_gateway.cluster.change_notice import ChangeNotice
from ai_gateway.cluster.events import Events, Reason, Subject
from ai_gateway.cluster.reflector import Collection, Reflector, WatchSettings
from ai_gateway.config.config_file import ConfigFile
from ai_gateway.config.fallback_file import FallbackFile
from ai_gateway.config.state import ConfigState, digest_of

log = logging.getLogger("ai_gateway.config")

# The defaults of discovery: the config is not known yet when this watch begins.
WATCH_SETTINGS: Final = WatchSettings(watch_seconds=300.0, read_seconds=15.0)
# Time between two checks for the first answer of the API server.
CHECK_SECONDS: Final = 0.2
# Time until health shows that the watch has failed, or works again.
FAILURE_SECONDS: Final = 1.0
# Silence of the API server until the file is used: longer than the time between two retries of a list.
UNAVAILABLE_SECONDS: Final = 10.0
FILE_IS_USED: Final = "; the mounted file is used instead"


class ConfigMapRef(msgspec.Struct, frozen=True):
    """A key of a ConfigMap. Without `namespace` it is in the gateway's own namespace."""

    name: str
    namespace: str | None = None
    key: str = "config.yml"

    def __str__(self) -> str:
        return f"ConfigMap {self.namespace or '.'}/{self.name}, key {self.key}"


def parse_ref(text: str) -> ConfigMapRef:
    """Parses `[NAMESPACE/]NAME[:KEY]`. Raises ValueError with the reason."""
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
    """The ConfigMap as the source of the config. Only `follow` and `reread` change it."""

    def __init__(
        self,
        ref: ConfigMapRef,
        api: ApiServer,
        state: ConfigState,
        settings: WatchSettings = WATCH_SETTINGS,
        fallback: FallbackFile | None = None,
    ) -> None:
        self._ref = ref
        self._api = api
        self._state = state
        self._settings = settings
        self._fallback = fallback or FallbackFile(state)
        self._events = Events(api)
        self._last: tuple[str, bytes | None, str] | None = None  # uid of the object, its content, or why it has none
        self._subject: Subject | None = None
        self._unseen_reason: str | None = None
        self._warned_immutable = False

    @property
    def events(self) -> Events:
        """The Events that it sends to Kubernetes."""
        return self._events

    def report_model(self, digest: str, message: str, reason: Reason) -> None:
        """Tells in an Event how a model of the config fares."""
        if self._subject is not None:
            self._events.report(self._subject, digest, message, reason)

    def reread(self) -> None:
        """The content counts as new with the next check: files that it names may have changed."""
        self._state.forget()
        self._last = None

    async def follow(self) -> None:
        """Submits each change as it comes, until cancelled."""
        notice = ChangeNotice(settle_seconds=0.0)
        namespace = self._ref.namespace
        if namespace is None:
            namespace = await asyncio.to_thread(self._api.access.namespace)
        collection = Collection(
            f"/api/v1/namespaces/{namespace}/configmaps",
            {"fieldSelector": f"metadata.name={self._ref.name}"},
            f"configmaps {self._ref.name!r} in namespace {namespace}",
        )
        reflector = Reflector(self._api, collection, self._settings, _read, notice.notify)
        sending = asyncio.create_task(self._events.run())
        reflector.start()
        try:
            while True:
                await self._check_once(reflector, namespace)
                await notice.wait(FAILURE_SECONDS if reflector.is_listed else CHECK_SECONDS)
        finally:
            reflector.stop()
            sending.cancel()

    async def _check_once(self, reflector: Reflector[_ConfigMap], namespace: str) -> None:
        reason = reflector.reason  # no event announces a failure: the copy stays as it is
        self._unseen_reason = None
        if not reflector.is_listed:
            if reason:
                self._config_missing(
                    f"ConfigMap {namespace}/{self._ref.name} cannot be read: {reason}", is_passing=True
                )
        elif reason and self._is_unavailable(reflector):
            self._fallback.activate(reflector.heard_at or 0.0)
            await self._check(None, namespace)
        else:
            await self._check(reflector.values(), namespace)
        if reflector.is_listed and reason:
            hint = FILE_IS_USED if self._fallback.is_used else ""
            self._unseen_reason = f"the gateway cannot see edits of the ConfigMap now: {reason}{hint}"
        self._state.unseen_reason = "; ".join(filter(None, (self._unseen_reason, self._fallback.unseen_reason))) or None

    def _is_unavailable(self, reflector: Reflector[_ConfigMap]) -> bool:
        return self._settings.clock() - (reflector.heard_at or 0.0) >= UNAVAILABLE_SECONDS

    async def _check(self, values: list[_ConfigMap] | None, namespace: str) -> None:
        try:
            if values is not None:
                await self._take(values, namespace)
            await self._state.check_again()
        except Exception as failure:  # a bug in one reload must not end all later ones
            self._state.fail(failure)
            self._last = None

    async def _take(self, values: list[_ConfigMap], namespace: str) -> None:
        if not values:
            self._last = None
            self._fallback.activate(self._settings.clock())
            self._config_missing(f"there is no ConfigMap {self._ref.name} in namespace {namespace}")
            return
        found = values[0]
        self._subject = _subject(found)
        content = _content(found, self._ref.key)
        if content is None:
            self._key_missing(found)
            return
        async with self._fallback.superseded_by(content) as is_needed:
            now = (found.metadata.uid, content, "")
            if now == self._last and not is_needed:
                return  # only its labels or other keys changed
            self._last = now
            self._warn_immutable(found)
            if await self._state.submit(content):
                self._report(found, digest_of(content), "; ".join(map(str, self._state.reasons)))

    def _key_missing(self, found: _ConfigMap) -> None:
        keys = ", ".join(sorted({*(found.data or {}), *(found.binary_data or {})})) or "no keys"
        meta = found.metadata
        sentence = f"ConfigMap {meta.namespace}/{meta.name} has no key {self._ref.key!r}; it has {keys}"
        self._fallback.activate(self._settings.clock())
        self._config_missing(sentence)
        if (meta.uid, None, sentence) != self._last:
            self._last = (meta.uid, None, sentence)
            self._report(found, digest_of(keys.encode()), sentence)

    def _config_missing(self, sentence: str, is_passing: bool = False) -> None:
        """The ConfigMap gives no content. If the file is used instead, this hides only edits."""
        if self._fallback.is_used:
            self._unseen_reason = sentence + FILE_IS_USED
            return
        failure = self._fallback.failure
        whole = f"{sentence}; the mounted file cannot be used either: {failure}" if failure else sentence
        self._state.config_missing(whole, is_passing or self._fallback.is_pending)

    def _warn_immutable(self, found: _ConfigMap) -> None:
        if found.immutable and not self._warned_immutable:
            self._warned_immutable = True
            log.warning(
                "config: ConfigMap %s is immutable: to change it, delete it and create it again", found.metadata.name
            )

    def _report(self, found: _ConfigMap, digest: str, message: str) -> None:
        self._events.report(_subject(found), digest, message)


def sources(
    path: Path | None, named: ConfigMapRef | None, api: ApiServer, live: ConfigState
) -> tuple[ConfigFile | None, ConfigMap | None]:
    """The sources of the config that flags name. If both are named, the file is only the fallback."""
    if named is None:
        return (ConfigFile(path, live) if path else None), None
    fallback = FallbackFile(live, has_file=path is not None)
    return (ConfigFile(path, fallback) if path else None), ConfigMap(named, api, live, fallback=fallback)


def _subject(found: _ConfigMap) -> Subject:
    meta = found.metadata
    return Subject("ConfigMap", meta.namespace, meta.name, meta.uid, meta.resource_version)


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
