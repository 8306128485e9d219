"""Debian's Chromium without a window, driven over its debugging pipe: a page at a width, keys, and its own words."""

import base64
import json
import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BufferedReader, RawIOBase
from itertools import count
from pathlib import Path
from typing import Any, Literal

from tools.building import install_debian

CHROMIUM = Path("/usr/bin/chromium")
WORDS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--hide-scrollbars"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--remote-debugging-pipe"),
)
KEYS = {"ArrowDown": 40, "ArrowUp": 38, "Enter": 13, "Escape": 27, "Tab": 9, "/": 191}


class Browser:
    """One tab. What it is asked is answered before the next line of a test runs."""

    def __init__(self, to: RawIOBase, back: BufferedReader) -> None:
        self._to = to
        self._back = back
        self._numbers = count(1)
        self._events: list[dict[str, Any]] = []
        target = self._ask("Target.createTarget", url="about:blank")["targetId"]
        self._session: str = self._ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime"):
            self.ask(f"{domain}.enable")

    def ask(self, method: str, **parameters: object) -> dict[str, Any]:
        """A command of the DevTools protocol, for the tab."""
        return self._ask(method, session=self._session, **parameters)

    def open(self, url: str, width: int = 1280, scheme: Literal["light", "dark"] = "light") -> None:
        """Loads it, in a window of that width and 900 pixels of height."""
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
        self.ask("Emulation.setDeviceMetricsOverride", **size)
        self.ask("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        self.open_by(lambda: self.ask("Page.navigate", url=url))

    def open_by(self, act: Callable[[], object]) -> None:
        """Does what opens another page, and waits until that is loaded."""
        self._events.clear()
        act()
        while not any(event["method"] == "Page.loadEventFired" for event in self._events):
            self._read()

    def evaluate(self, script: str) -> Any:
        """The value of an expression in the page, awaited where it is a promise."""
        told = self.ask("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in told, told["exceptionDetails"]
        return told["result"].get("value")

    def press(self, key: str) -> None:
        """A key of KEYS, as a person presses it."""
        named = {"key": key, "windowsVirtualKeyCode": KEYS[key], **({"text": "\r"} if key == "Enter" else {})}
        self.ask("Input.dispatchKeyEvent", type="keyDown", **named)
        self.ask("Input.dispatchKeyEvent", type="keyUp", key=key, windowsVirtualKeyCode=KEYS[key])

    def type(self, text: str) -> None:
        """Into what has the focus."""
        self.ask("Input.insertText", text=text)

    def picture(self, file: Path, height: int = 900) -> None:
        """Writes what the page looks like, as PNG."""
        width = self.evaluate("innerWidth")
        clip = {"x": 0, "y": 0, "width": width, "height": height, "scale": 1}
        told = self.ask("Page.captureScreenshot", format="png", clip=clip, captureBeyondViewport=True)
        file.write_bytes(base64.b64decode(told["data"]))

    def _ask(self, method: str, *, session: str = "", **parameters: object) -> dict[str, Any]:
        number = next(self._numbers)
        asked = {"id": number, "method": method, "params": parameters, **({"sessionId": session} if session else {})}
        self._to.write(json.dumps(asked).encode() + b"\0")
        while (told := self._read()).get("id") != number:
            pass
        assert "error" not in told, told["error"]
        result: dict[str, Any] = told["result"]
        return result

    def _read(self) -> dict[str, Any]:
        """The next message, an answer or an event; events are kept."""
        text = bytearray()
        while (byte := self._back.read(1)) != b"\0":
            assert byte, "Chromium has ended"
            text += byte
        told: dict[str, Any] = json.loads(text)
        if "method" in told:
            self._events.append(told)
        return told


@contextmanager
def browser(folder: Path) -> Iterator[Browser]:
    """Chromium with its profile in that folder; ended with the block."""
    install_debian({"chromium": CHROMIUM})
    (their_in, to), (back, their_out) = os.pipe(), os.pipe()
    script = f'exec "$@" 3<&{their_in} 4>&{their_out}'  # the pipe's ends are 3 and 4 to it
    command = ["bash", "-c", script, "bash", str(CHROMIUM), *WORDS, f"--user-data-dir={folder}"]
    process = subprocess.Popen(command, pass_fds=(their_in, their_out), stderr=subprocess.DEVNULL)
    os.close(their_in)
    os.close(their_out)
    with process, os.fdopen(to, "wb", buffering=0) as asked, os.fdopen(back, "rb") as told:
        try:
            yield Browser(asked, told)
        finally:
            process.kill()
