"""The routes of /api that change the models on disk: pull, create, copy, delete, blobs."""

import asyncio
import re
from collections.abc import AsyncIterator
from typing import Any

from ai_gateway.simulator.faults import Fault
from ai_gateway.simulator.go_json import Fields, encode
from ai_gateway.simulator.inference import break_before_head, break_off
from ai_gateway.simulator.models import Model
from ai_gateway.simulator.native_answers import NDJSON
from ai_gateway.simulator.native_asks import read_native
from ai_gateway.simulator.pod import Call, Pod
from ai_gateway.simulator.refusals import Refusal
from ai_gateway.simulator.store import valid_name

PROGRESS_SECONDS = 0.06  # between two reports of a layer
NOT_IN_REGISTRY = "pull model manifest: file does not exist"
_NO_REGISTRY = (
    'pull model manifest: Get "https://registry.ollama.ai/v2/library/{}/manifests/{}": dial tcp: no such host'
)
_PULL_ERRORS = {
    "disk_full": "write /root/.ollama/models/blobs/sha256-{}-partial: no space left on device",
    "bad_digest": "digest mismatch, file must be downloaded again: want sha256:{}, got sha256:" + "0" * 64,
}
_CONFIG_BYTES = 487
_DIGEST = re.compile(r"sha256[:-][0-9a-fA-F]{64}")

Progress = AsyncIterator[dict[str, Any]]


class _BrokenOff(Exception):
    """The answer breaks here, as a fault says."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.kind)
        self.fault = fault


class StoreApi:
    """The writing half of Ollama's own API of one pod."""

    def __init__(self, pod: Pod) -> None:
        self._pod = pod

    async def pull(self, call: Call) -> None:
        """`POST /api/pull`; an unknown model ends the 200 stream with an error line."""
        fields = read_native(call.request.body, "api.PullRequest")
        name = valid_name(fields.text("model") or fields.text("name"))
        await self._report(call, fields, self._pull(self._pod.store.describe(name), call))

    async def create(self, call: Call) -> None:
        """`POST /api/create` from another model or from uploaded files."""
        fields = read_native(call.request.body, "api.CreateRequest")
        name = valid_name(fields.text("model") or fields.text("name"))
        if not fields.text("from") and not fields.raw("files"):
            raise Refusal(400, "neither 'from' or 'files' was specified")
        await self._report(call, fields, self._create(self._pod.store.describe(name), fields))

    async def copy(self, call: Call) -> None:
        """`POST /api/copy`; 200 with an empty body."""
        fields = read_native(call.request.body, "api.CopyRequest")
        self._pod.store.copy(fields.text("source"), fields.text("destination"))
        call.answer.whole(200, "", b"")

    async def delete(self, call: Call) -> None:
        """`DELETE /api/delete`; 200 with an empty body. What is loaded stays loaded."""
        fields = read_native(call.request.body, "api.DeleteRequest")
        written = fields.text("model") or fields.text("name")
        if not written:
            raise Refusal(400, "model is required")
        self._pod.store.delete(written)
        call.answer.whole(200, "", b"")

    async def has_blob(self, call: Call) -> None:
        """`HEAD /api/blobs/:digest`."""
        digest = call.request.path.removeprefix("/api/blobs/")
        if not _DIGEST.fullmatch(digest):
            raise Refusal(400, "invalid digest format")
        call.answer.whole(200 if self._pod.store.has_blob(digest) else 404, "", b"")

    async def add_blob(self, call: Call) -> None:
        """`POST /api/blobs/:digest`: 201, or 200 if it was here."""
        digest = call.request.path.removeprefix("/api/blobs/")
        is_new = self._pod.store.add_blob(digest, call.request.body)
        call.answer.whole(201 if is_new else 200, "", b"")

    async def _report(self, call: Call, fields: Fields, progress: Progress) -> None:
        """Streams the progress, or sends only its last line."""
        last: dict[str, Any] = {}
        if fields.optional_flag("stream") is not False:
            call.answer.start(NDJSON)
            try:
                async for line in progress:
                    call.answer.send(encode(line) + b"\n")
            except _BrokenOff as broken:
                await break_off(call, broken.fault, [])
                return
            call.answer.end()
            return
        try:
            async for line in progress:
                last = line
        except _BrokenOff as broken:
            await break_before_head(call, broken.fault)
            return
        call.reply(last, 500 if "error" in last else 200)

    async def _pull(self, model: Model, call: Call) -> Progress:
        store, faults = self._pod.store, {fault.kind: fault for fault in call.faults}
        yield {"status": "pulling manifest"}
        if "no_registry" in faults:
            yield {"error": _NO_REGISTRY.format(model.name.model, model.name.tag)}
            return
        if not store.is_in_registry(model.name):
            yield {"error": NOT_IN_REGISTRY}
            return
        for digest, size in zip(model.layers, (model.size_bytes, _CONFIG_BYTES), strict=True):
            async for line in self._layer(digest, size, call):
                yield line
                if "error" in line:
                    return
        yield {"status": "verifying sha256 digest"}
        if "bad_digest" in faults:
            store.drop_layer(model.weights)
            yield {"error": _PULL_ERRORS["bad_digest"].format(model.weights)}
            return
        yield {"status": "writing manifest"}
        store.add(model)
        yield {"status": "success"}

    async def _layer(self, digest: str, size: int, call: Call) -> Progress:
        """One layer's reports, 60 ms apart, from what is here already to all of it, or to where a fault ends it."""
        store = self._pod.store
        line = {"status": f"pulling {digest[:12]}", "digest": f"sha256:{digest}", "total": size}
        completed = size if store.has_layer(digest) else store.partial.get(digest, 0)
        fault = next((one for one in call.faults if one.kind == "disk_full" or one is call.ending), None)
        end = size if fault is None or completed == size else int(size * fault.share)
        while completed < end:
            yield {**line, "completed": completed} if completed else line
            rate = store.pull_bytes_per_second / call.slowness
            step = end - completed if rate <= 0 else min(end - completed, max(1, int(rate * PROGRESS_SECONDS)))
            await asyncio.sleep(step / rate if rate > 0 else 0)
            completed = store.download(digest, size, step)
        yield {**line, "completed": completed}
        if fault is None or completed == size:
            return
        if fault.kind != "disk_full":
            raise _BrokenOff(fault)
        yield {"error": _PULL_ERRORS["disk_full"].format(digest)}

    async def _create(self, model: Model, fields: Fields) -> Progress:
        store = self._pod.store
        base = model
        if fields.text("from"):
            origin = valid_name(fields.text("from"))
            found = store.find(fields.text("from"))
            if found is None and not store.is_in_registry(origin):
                yield {"error": NOT_IN_REGISTRY}
                return
            base = found or store.describe(origin)
        else:
            digest = str(next(iter((fields.raw("files") or {}).values()), ""))
            if not store.has_blob(digest):
                yield {"error": f"invalid digest {digest}"}
                return
            base = store.described_by_blob(model, digest)
        yield {"status": f"using existing layer sha256:{base.weights}"}
        changes = {name: fields.raw(name) for name in ("parameters", "system", "template") if fields.raw(name)}
        store.derive(model.name, base, changes)
        yield {"status": "writing manifest"}
        yield {"status": "success"}
