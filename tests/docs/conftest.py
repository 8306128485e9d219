"""The programs that the docs talk about, started once, and where each address of the docs is found."""

import socket
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from tests.docs.program import ROOT, serve, simulate


def _is_taken(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1.0)
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture(scope="session")
def gateway() -> Iterator[tuple[str, str]]:
    """`serve --demo` with the repository's config.yml: the addresses of API and admin port."""
    with ExitStack() as stack:
        ollama = None
        if _is_taken(11434):  # somebody's own Ollama runs here, which --demo would use: give it a simulated one
            ollama = stack.enter_context(simulate("--load-seconds", "0"))[0][0]
        yield stack.enter_context(serve("--demo", "--config", str(ROOT / "config.yml"), ollama=ollama))


@pytest.fixture(scope="session")
def places(gateway: tuple[str, str]) -> Iterator[dict[str, str]]:
    """Where the addresses that the docs print are found in these tests."""
    api, admin = gateway
    with simulate("--endpoints", "3", "--models", "llama3:latest,codellama:13b") as (endpoints, control):
        yield {
            "localhost:8080": api,
            "localhost:9090": admin,
            "127.0.0.1:11499": control,
            "127.0.0.1:11500": endpoints[0],
        }
