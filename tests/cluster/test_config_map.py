"""How a ConfigMap is named on the command line, and how its content is found in it.

What becomes of an edit is tested with a whole gateway (`tests/flow/test_kubernetes.py`) and a real API server.
"""

import asyncio
import threading
from base64 import b64encode
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.cluster.fake_api import FakeApi, reach, serving
from tests.config.pem_files import write_ca
from tests.flow.waiting import until

from ai_gateway.cluster.config_map import ConfigMap, ConfigMapRef, parse_ref
from ai_gateway.config.state import ConfigState
from ai_gateway.config.types import Config

GOOD = "models: {a: }"
META = {"metadata": {"uid": "u1"}}
EMPTY = "is empty: set at least one key, such as `models`"


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("models", ConfigMapRef("models")),
        ("ai/models", ConfigMapRef("models", "ai")),
        ("ai/models:gateway.yml", ConfigMapRef("models", "ai", "gateway.yml")),
        ("models:a", ConfigMapRef("models", None, "a")),
    ],
)
def test_a_name_may_have_a_namespace_and_a_key(text: str, named: ConfigMapRef) -> None:
    assert parse_ref(text) == named


@pytest.mark.parametrize("text", ["", "/", "ai/", "a/b/c", "models:", "two words", ":key"])
def test_what_is_no_name_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not"):
        parse_ref(text)


def test_people_are_told_all_three() -> None:
    assert str(ConfigMapRef("models", "ai")) == "ConfigMap ai/models, key config.yml"


@pytest.fixture
def api() -> Iterator[FakeApi]:
    with serving() as server:
        yield server


class Followed:
    """The config that a ConfigMap gives, and what was applied of it."""

    def __init__(self, config_map: ConfigMap, live: ConfigState, applied: list[Config]) -> None:
        self.config_map = config_map
        self.live = live
        self.applied = applied

    async def models(self, *names: str) -> None:
        """Returns once these are in force."""
        await until(lambda: self.live.config is not None and list(self.live.config.models) == list(names))

    async def reason(self) -> str:
        """The one that there is, once there is one and Events tell of it."""
        await until(lambda: self.live.reasons and not self.config_map.events.is_busy)
        (reason,) = self.live.reasons
        return str(reason)


@asynccontextmanager
async def following(
    api: FakeApi, folder: Path, named: ConfigMapRef, apply: Callable[[Config], None] | None = None
) -> AsyncGenerator[Followed]:
    """Left, it follows no more."""
    applied: list[Config] = []
    live = ConfigState(str(named), apply or applied.append)
    config_map = ConfigMap(named, reach(api, folder), live)
    task = asyncio.create_task(config_map.follow())
    try:
        yield Followed(config_map, live, applied)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def in_binary(text: str) -> str:
    return b64encode(text.encode()).decode()


@pytest.mark.parametrize(
    ("content", "key"),
    [
        ({"data": {"config.yml": GOOD, "other": "["}}, "config.yml"),
        ({"data": {"config.yml": "[", "mine": GOOD}}, "mine"),
        ({"data": None, "binaryData": {"config.yml": in_binary(GOOD)}}, "config.yml"),
        ({"data": {"config.yml": GOOD}, "binaryData": {"config.yml": in_binary("[")}}, "config.yml"),
    ],
)
async def test_the_content_of_the_key_is_the_config(
    api: FakeApi, tmp_path: Path, content: dict[str, Any], key: str
) -> None:
    """As text, or as bytes, which is what `kubectl create --from-file` makes of a file that is no UTF-8."""
    api.put("ai", "models", META | content)
    async with following(api, tmp_path, ConfigMapRef("models", key=key)) as followed:
        await followed.models("a")
    path, query = api.asked[0]
    assert (path, query["fieldSelector"]) == ("/api/v1/namespaces/ai/configmaps", "metadata.name=models")


@pytest.mark.parametrize(
    ("content", "there"),
    [({"data": {"b": "", "a": ""}, "binaryData": {"c": ""}}, "a, b, c"), ({}, "no keys")],
)
async def test_a_key_that_is_missing_is_named_with_those_that_are_there(
    api: FakeApi, tmp_path: Path, content: dict[str, Any], there: str
) -> None:
    """In health and in an Event; the last good config stays in force."""
    api.put("ai", "models", META | {"data": {"config.yml": GOOD}})
    async with following(api, tmp_path, ConfigMapRef("models")) as followed:
        await followed.models("a")
        api.put("ai", "models", META | content)
        sentence = f"ConfigMap ai/models has no key 'config.yml'; it has {there}"
        assert await followed.reason() == sentence
        await until(lambda: api.sent)
        assert api.sent[0]["message"] == sentence
        assert followed.live.config is not None


async def test_the_same_content_under_a_new_version_is_neither_applied_nor_reported_again(
    api: FakeApi, tmp_path: Path
) -> None:
    """Someone changed a label, or another key."""
    bad = META | {"data": {"config.yml": "models: ["}}
    api.put("ai", "models", bad)
    async with following(api, tmp_path, ConfigMapRef("models")) as followed:
        await until(lambda: api.sent)
        api.put("ai", "models", bad | {"data": {"config.yml": "models: [", "other": "x"}})
        api.put("ai", "models", META | {"data": {"config.yml": GOOD}})
        await followed.models("a")
        assert (len(api.sent), len(followed.applied), followed.live.total_refused) == (1, 1, 1)


async def test_an_object_that_is_deleted_and_made_anew_is_another_one(api: FakeApi, tmp_path: Path) -> None:
    """Its bad content is reported for it as well."""
    bad = {"data": {"config.yml": "models: ["}}
    api.put("ai", "models", META | bad)
    async with following(api, tmp_path, ConfigMapRef("models")):
        await until(lambda: len(api.sent) == 1)
        api.delete("ai", "models")
        api.put("ai", "models", {"metadata": {"uid": "u2"}} | bad)
        await until(lambda: len(api.sent) == 2)
    assert [event["involvedObject"]["uid"] for event in api.sent] == ["u1", "u2"]


async def test_an_immutable_config_map_is_told_of_once(
    api: FakeApi, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A change needs a new object, which may be immutable as well."""
    async with following(api, tmp_path, ConfigMapRef("models")) as followed:
        for name in ("a", "b"):
            api.put("ai", "models", META | {"immutable": True, "data": {"config.yml": f"models: {{{name}: }}"}})
            await followed.models(name)
            api.delete("ai", "models")
    assert caplog.text.count("ConfigMap models is immutable: to change it, delete it and create it again") == 1


async def test_another_namespace_can_be_named(api: FakeApi, tmp_path: Path) -> None:
    """The one of the context is the gateway's own."""
    api.put("ai", "models", META | {"data": {"config.yml": "models: {own: }"}})
    api.put("lab", "models", META | {"data": {"config.yml": GOOD}})
    async with following(api, tmp_path, ConfigMapRef("models", "lab")) as followed:
        await followed.models("a")


async def test_an_object_that_comes_back_as_it_was_ends_the_complaint(api: FakeApi, tmp_path: Path) -> None:
    """Health must not tell for ever of one that was away for a moment."""
    good = META | {"data": {"config.yml": GOOD}}
    api.put("ai", "models", good)
    async with following(api, tmp_path, ConfigMapRef("models")) as followed:
        await followed.models("a")
        api.delete("ai", "models")
        assert await followed.reason() == "there is no ConfigMap models in namespace ai"
        api.put("ai", "models", good)
        await until(lambda: not followed.live.reasons)


async def test_a_fault_of_the_gateways_own_ends_no_later_reload(
    api: FakeApi, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It is told with its trace; the next edit is applied."""
    applied: list[Config] = []

    def apply(config: Config) -> None:
        if "a" in config.models:
            raise RuntimeError("a bug")
        applied.append(config)

    api.put("ai", "models", META | {"data": {"config.yml": GOOD}})
    async with following(api, tmp_path, ConfigMapRef("models"), apply):
        await until(lambda: "a bug" in caplog.text)
        api.put("ai", "models", META | {"data": {"config.yml": "models: {b: }"}})
        await until(lambda: [list(config.models) for config in applied] == [["b"]])


async def test_a_server_that_does_not_let_it_read_may_do_so_in_a_moment(api: FakeApi, tmp_path: Path) -> None:
    """The start waits for that; what stands in the way is told meanwhile."""
    api.put("ai", "models", META | {"data": {"config.yml": GOOD}})
    api.forbidden.add("ai")
    async with following(api, tmp_path, ConfigMapRef("models")) as followed:
        assert "ConfigMap ai/models cannot be read: " in await followed.reason()
        settled_before = followed.live.has_outcome
        api.forbidden.clear()
        await followed.models("a")
        assert (settled_before, followed.live.has_outcome, followed.live.reasons) == (False, True, [])


async def test_who_follows_no_more_watches_no_more(api: FakeApi, tmp_path: Path) -> None:
    """The watch would last for minutes."""
    api.put("ai", "models", META | {"data": {"config.yml": GOOD}})
    before = set(threading.enumerate())
    async with following(api, tmp_path, ConfigMapRef("models")) as followed:
        await followed.models("a")
        watching = [t for t in set(threading.enumerate()) - before if t.name.startswith("watch configmaps 'models'")]
        assert len(watching) == 1
    await until(lambda: not watching[0].is_alive())


async def test_bytes_that_are_none_are_a_missing_key(api: FakeApi, tmp_path: Path) -> None:
    """What is no base64 cannot come from an API server, and is no reason to fall over."""
    api.put("ai", "models", META | {"binaryData": {"config.yml": "###"}})
    async with following(api, tmp_path, ConfigMapRef("models")) as followed:
        assert "has no key 'config.yml'; it has config.yml" in await followed.reason()


async def test_content_is_checked_again_when_a_named_file_comes(api: FakeApi, tmp_path: Path) -> None:
    """The object itself was not changed: no watch tells of it."""
    ca = tmp_path / "ca.pem"
    content = f"{GOOD}\nlimits: {{redis: {{url: 'rediss://h', ca_file: {ca}}}}}"
    api.put("ai", "models", META | {"data": {"config.yml": content}})
    async with following(api, tmp_path, ConfigMapRef("models")) as followed:
        assert await followed.reason() == f"limits.redis.ca_file: there is no file {ca}"
        write_ca(tmp_path)
        await followed.models("a")


async def test_a_complaint_follows_the_keys_that_are_there(api: FakeApi, tmp_path: Path) -> None:
    """Formerly that of a renamed key stayed when all was emptied. Each state has its Event; a right one ends it."""
    there: list[tuple[dict[str, Any], str]] = [
        ({"data": {"config.yaml": GOOD}}, "no key 'config.yml'; it has config.yaml"),
        ({"data": {}}, "no key 'config.yml'; it has no keys"),
        ({"data": {"config.yml": ""}}, EMPTY),
        ({"binaryData": {"config.yml": in_binary("# nothing")}}, EMPTY),
        ({"data": {"a": "", "b": ""}}, "it has a, b"),
        ({"data": {"a": ""}}, "it has a"),
    ]
    api.put("ai", "models", META | {"data": {"config.yml": GOOD}})
    async with following(api, tmp_path, ConfigMapRef("models")) as followed:
        await followed.models("a")
        for content, words in there:
            told = len(api.sent)
            api.put("ai", "models", META | content)
            await until(lambda told=told: len(api.sent) > told)  # type: ignore[misc]  # a default in a lambda
            assert api.sent[-1]["message"].endswith(words)
            assert [str(reason) for reason in followed.live.reasons] == [api.sent[-1]["message"]]
        api.put("ai", "models", META | {"data": {"config.yml": GOOD}})
        await until(lambda: not followed.live.reasons)
