"""Debian's Chromium without a window: opens a page and tells what its script found out."""

import asyncio
import html
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tests.flow.waiting import soon
from tools.building import install_debian

CHROMIUM = Path("/usr/bin/chromium")

# `ask` ends with what a page may know of an answer; `tried` becomes the page's text, which Chromium prints at its end.
_PAGE = """<!doctype html><meta charset="utf-8"><title>page</title><pre id="tried"></pre><script>
async function ask(url, options) {
  try {
    const reply = await fetch(url, options);
    return [reply.type, reply.status, reply.type === "opaque" ? "" : await reply.text()];
  } catch (error) { return ["error", 0, String(error)]; }
}
(async () => {
  const tried = {};
  try { await (async () => { %s })(); } catch (error) { tried.error = String(error); }
  document.getElementById("tried").textContent = JSON.stringify(tried);
})();
</script>"""


@asynccontextmanager
async def page(script: str) -> AsyncIterator[int]:
    """A server on loopback that answers everything with a page of this script, which fills `tried`; yields its port."""
    body = (_PAGE % script).encode()
    head = f"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(head.encode() + body)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def opened(url: str, folder: Path) -> dict[str, Any]:
    """What the page at this URL found out. Every name but localhost leads to this machine, as in a rebinding."""
    install_debian({"chromium": CHROMIUM})
    words = [str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"]
    words += ["--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-quic"]
    words += [f"--user-data-dir={folder / 'chromium'}", "--host-resolver-rules=MAP * 127.0.0.1", "--no-proxy-server"]
    words += ["--timeout=20000", "--virtual-time-budget=8000", "--dump-dom", url]
    process = await asyncio.create_subprocess_exec(
        *words, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
    )
    try:
        out, _ = await soon(process.communicate(), 90)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    found = re.search(r'<pre id="tried">(.+?)</pre>', out.decode(), re.DOTALL)
    assert found is not None, out.decode()[:2000]
    told: dict[str, Any] = json.loads(html.unescape(found[1]))
    assert "error" not in told, told
    return told
