"""The faults that take the place of an answer."""

import asyncio

from ai_gateway.simulator.faults import Fault
from ai_gateway.simulator.pod import JSON, Call, forever
from ai_gateway.simulator.refusals import RUNNER_STOPPED, Busy, Refusal

_GARBAGE: dict[str, tuple[str, bytes]] = {
    "invalid_json": (JSON, b'{"id":"chatcmpl-1","choices":[{"ind'),
    "wrong_type": ("application/octet-stream", b"\x00\x01\x02\xff\xfe"),
    "html": ("text/html; charset=utf-8", b"<html><body>It works!</body></html>"),
    "empty": (JSON, b""),
    "array": (JSON, b"[]"),
}


async def misbehave(call: Call) -> bool:
    """Does what the call's faults require instead of an answer. False if none replaces it. Raises `Refusal`."""
    for fault in call.faults:
        if fault.delay:
            await asyncio.sleep(fault.delay)
        if fault.kind == "cookie":
            call.answer.extra_headers += (("Set-Cookie", "simulated=yes; Path=/"),)
        elif fault.kind == "split":
            call.answer.split_bytes = max(1, fault.piece_bytes)
    for fault in call.faults:
        if await _replace(call, fault):
            return True
    return False


async def _replace(call: Call, fault: Fault) -> bool:
    match fault.kind:
        case "hang":
            await forever()
        case "status":
            raise Refusal(fault.status, fault.message or RUNNER_STOPPED)
        case "busy":
            raise Busy
        case "drop":
            call.answer.reset()
        case "garbage":
            content_type, body = _GARBAGE[fault.body]
            call.answer.whole(200, content_type, body)
        case "redirect":
            call.answer.whole(302, "", b"", (("Location", fault.location),))
        case _:
            return False
    return True
