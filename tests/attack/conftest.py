"""Attacks on a whole gateway, as a hostile or unlucky world makes them. Each test is one situation, named by
`@pytest.mark.attack(KIND, WHAT)`; `make e2e` runs them and prints what was tried and what held."""

import asyncio
from collections.abc import AsyncIterator, Callable, Generator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import uvloop
from tests.attack.table import KEY, KINDS, Table, Tried
from tests.flow.world import World

_TABLE = pytest.StashKey[Table]()


def pytest_configure(config: pytest.Config) -> None:
    """The table of this run."""
    config.stash[_TABLE] = Table()
    config.pluginmanager.register(config.stash[_TABLE], "attacks")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Every test here is a situation with a name, of a kind that there is."""
    for item in items:
        if Path(__file__).parent not in item.path.parents:
            continue
        mark = item.get_closest_marker("attack")
        assert mark is not None, f"{item.nodeid} does not say what it tries"
        assert mark.args[0] in KINDS, f"{item.nodeid}: {mark.args[0]!r} is none of {KINDS}"


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """The loop that the gateway runs on."""
    return {"uvloop": uvloop.new_event_loop}


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """A gateway and endpoints in this process; at the end no call may hold anything any more."""
    async with AsyncExitStack() as stack:
        yield World(tmp_path, stack)


@pytest.fixture(autouse=True)
def tried(request: pytest.FixtureRequest) -> Tried:
    """The row of this situation."""
    mark = request.node.get_closest_marker("attack")
    parameters = getattr(request.node, "callspec", None)
    which = parameters.id.removeprefix("uvloop").strip("-") if parameters else ""
    what = mark.args[1] + (f" [{which}]" if which else "")
    row: Tried = request.config.stash[_TABLE].begin(Tried(mark.args[0], what))
    request.node.stash[KEY] = row
    return row


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A situation has held when its test, its end included, did not fail."""
    report = yield
    row = item.stash.get(KEY, None)
    if row is not None and call.when in ("call", "teardown"):
        row.has_held = report.passed and (row.has_held or call.when == "call")
    return report
