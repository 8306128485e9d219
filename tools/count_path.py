"""Counts what one ordinary request passes through: files, functions and calls of the gateway's own code.

    .venv/bin/python tools/count_path.py [--list]

The request is a POST /v1/chat/completions that asks for a whole answer, over loopback, to the real server and the real
app with a config of one model and no more; the endpoint is a few lines of this file. The first requests warm what is
opened and remembered once; the last one is counted, with `sys.setprofile`. Counted are the functions under
`src/ai_gateway` that run while the app is called: all that the app does between the server, which parses and writes,
and whoever records the request when it is over (`server/`, `telemetry/` and `audit/` are left out, and the parsing of
what the endpoint answers, which the event loop calls). A coroutine that goes on is no new call.
"""

import argparse
import asyncio
import sys
import tempfile
from collections import Counter
from contextlib import AsyncExitStack
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, Final

import ai_gateway
from ai_gateway.app import Gateway
from ai_gateway.cli.serve import lead
from ai_gateway.edge.routing import Front
from ai_gateway.options import Options
from ai_gateway.server import ServerCallbacks, ServerSettings, Shutdown

ROOT: Final = Path(ai_gateway.__file__).parent
CONFIG: Final = """
models: {{llama3: {{}}}}
discovery: {{static: ["http://127.0.0.1:{port}"]}}
polling: {{interval: 60s, models_interval: 60s}}
"""
BODY: Final = b'{"model": "llama3", "messages": [{"role": "user", "content": "hello world"}]}'
REQUEST: Final = (
    b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
    b"content-length: %d\r\n\r\n%b" % (len(BODY), BODY)
)
ANSWERS: Final = {
    b"/api/version": b'{"version": "0.11.4"}',
    b"/api/tags": b'{"models": [{"name": "llama3:latest", "model": "llama3:latest"}]}',
    b"/api/ps": b'{"models": [{"name": "llama3:latest", "model": "llama3:latest"}]}',
    b"/v1/chat/completions": (
        b'{"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "llama3", "choices": [{"index": 0,'
        b' "message": {"role": "assistant", "content": "Hello!"}, "finish_reason": "stop"}],'
        b' "usage": {"prompt_tokens": 12, "completion_tokens": 3, "total_tokens": 15}}'
    ),
}
WARM_REQUESTS: Final = 3
APP: Final = Front.__call__.__code__  # the outermost of the app
LEFT_OUT: Final = ("server", "telemetry", "audit")


class Passed:
    """Which functions were called, and how often. Changed by the profiler."""

    def __init__(self) -> None:
        self.calls: Counter[CodeType] = Counter()
        self._seen: set[int] = set()  # frames of coroutines that were entered already
        self._kept: list[FrameType] = []  # so that no id is given anew

    def __call__(self, frame: FrameType, event: str, _: Any) -> None:
        """Takes what `sys.setprofile` tells."""
        if event != "call" or id(frame) in self._seen or not _is_part(frame):
            return
        self._seen.add(id(frame))
        self._kept.append(frame)
        self.calls[frame.f_code] += 1

    @property
    def files(self) -> Counter[str]:
        """Functions by file."""
        return Counter(str(Path(code.co_filename).relative_to(ROOT)) for code in self.calls)


def _is_part(frame: FrameType) -> bool:
    """Whether a frame belongs to the app's work on the request."""
    if not frame.f_code.co_filename.startswith(str(ROOT)):
        return False
    above: FrameType | None = frame
    while above is not None and above.f_code is not APP:
        file = Path(above.f_code.co_filename)
        if file.is_relative_to(ROOT) and file.relative_to(ROOT).parts[0] in LEFT_OUT:
            return False
        above = above.f_back
    return above is not None


async def endpoint(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answers as an Ollama does, and keeps the connection."""
    while head := await _head(reader):
        _, path, _ = head.split(b" ", 2)
        answer = ANSWERS[path]
        writer.write(
            b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (len(answer), answer)
        )
    writer.close()


async def _head(reader: asyncio.StreamReader) -> bytes:
    """The head of the next message, with its body read as well; empty when there is none."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return b""
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            await reader.readexactly(int(value))
    return head


async def count() -> Passed:
    """Serves, warms up, and counts one request."""
    path = Passed()
    async with AsyncExitStack() as stack:
        upstream = await stack.enter_async_context(await asyncio.start_server(endpoint, "127.0.0.1", 0))
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        (folder / "config.yml").write_text(CONFIG.format(port=upstream.sockets[0].getsockname()[1]))
        environment = {"XDG_STATE_HOME": str(folder)}
        gateway = Gateway(Options(folder / "config.yml", environment))
        listening: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        shutdown = Shutdown()
        callbacks = ServerCallbacks(lambda api, _: listening.set_result(api[0]), shutdown=shutdown)
        settings = ServerSettings("127.0.0.1:0", "127.0.0.1:0", grace_seconds=0.0)
        running = asyncio.create_task(lead(gateway, lambda _: settings, callbacks))
        await asyncio.wait((listening, running), return_when=asyncio.FIRST_COMPLETED)
        await _ask(int(listening.result().rpartition(":")[2]), path)
        shutdown.request()
        await running
    return path


async def _ask(port: int, path: Passed) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    await asyncio.sleep(0.5)  # the first polls are over
    for _ in range(WARM_REQUESTS):
        writer.write(REQUEST)
        assert (await _head(reader)).startswith(b"HTTP/1.1 200"), "the gateway answers"
    await asyncio.sleep(0.1)
    sys.setprofile(path)
    writer.write(REQUEST)
    head = await _head(reader)
    await asyncio.sleep(0)  # what the server does behind the last byte
    sys.setprofile(None)
    assert head.startswith(b"HTTP/1.1 200"), head
    writer.close()


def main() -> None:
    """Prints the counts; `--list` also names files and functions."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--list", action="store_true", help="name the files and functions, too")
    listed = parser.parse_args().list
    path = asyncio.run(count())
    if listed:
        for file, functions in sorted(path.files.items()):
            print(f"{functions:4} {file}")
            for code, calls in path.calls.items():
                if code.co_filename == str(ROOT / file):
                    print(f"        {calls} x {code.co_qualname}")
    print(f"{len(path.files)} files, {len(path.calls)} functions, {sum(path.calls.values())} calls")


if __name__ == "__main__":
    main()
