"""The site, built once, on a server that knows nothing but files; and a Chromium that looks at it."""

import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from tests.docs_site.chromium import Browser, browser
from tools.docs_site.building import build


class _Files(SimpleHTTPRequestHandler):
    """As a host of static pages serves them, below a path of their own."""

    def translate_path(self, path: str) -> str:
        assert path.startswith("/docs/"), path
        return super().translate_path(path.removeprefix("/docs"))

    def log_message(self, *_: Any) -> None:
        """Says nothing."""


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the site."""
    folder = tmp_path_factory.mktemp("site")
    assert build(folder / "staged", folder / "site") == []
    return folder / "site"


@pytest.fixture(scope="session")
def address(built: Path) -> Iterator[str]:
    """Where the site is served; ends with a slash."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Files, directory=str(built))) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/docs/"
        server.shutdown()
        thread.join()


@pytest.fixture(scope="session")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """One tab for all tests."""
    with browser(tmp_path_factory.mktemp("chromium")) as started:
        yield started
