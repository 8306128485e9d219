"""The control path: faults and state of an endpoint as JSON, at run time.

On each endpoint under `/simulator/`, on the control server under `/endpoints/N/`:

    GET    faults          the active ones
    POST   faults          one fault, or a list: {"kind": "status", "status": 500, "count": 2, "model": "llama3"}
    DELETE faults          turns all off
    DELETE faults/ID       turns one off
    GET    state           running and waiting requests, loads, counters
    POST   kill, restart   the pod dies, the pod comes back; {"keeps_disk": false}: with nothing on its disk
    GET    registry        what pulls find, of all endpoints
    POST   registry        one content, or a list: {"name": "llama3:latest", "content": "newer", "size": 1000000}
    DELETE registry/NAME   pulls do not find it any more
"""

from typing import Any

import msgspec

from ai_gateway.simulator.answer import Answer
from ai_gateway.simulator.endpoint import Endpoint
from ai_gateway.simulator.faults import Fault
from ai_gateway.simulator.http1 import Request
from ai_gateway.simulator.registry import Content

JSON = "application/json"


def answer_control(endpoint: Endpoint, path: str, request: Request, answer: Answer) -> None:
    """Answers one request to the control path; `path` is what follows the prefix."""
    status, value = _control(endpoint, path, request)
    answer.whole(status, JSON, msgspec.json.encode(value) + b"\n")


def _control(endpoint: Endpoint, path: str, request: Request) -> tuple[int, Any]:
    match request.method, path.strip("/").split("/"):
        case "GET", ["faults"]:
            return 200, {"faults": endpoint.faults.active()}
        case "POST", ["faults"]:
            return _add_faults(endpoint, request.body)
        case "DELETE", ["faults"]:
            endpoint.faults.clear()
            return 200, {"faults": []}
        case "DELETE", ["faults", text] if text.isdigit():
            found = endpoint.faults.remove(int(text))
            return (200 if found else 404), {"faults": endpoint.faults.active()}
        case "GET", ["state"]:
            return 200, state_of(endpoint)
        case "POST", ["kill"]:
            endpoint.kill()
            return 200, {"is_open": endpoint.is_open}
        case "POST", ["restart"]:
            return _restart(endpoint, request.body)
        case method, ["registry", *rest]:
            return _registry(endpoint, method, "/".join(rest), request.body)
    return 404, {"error": f"no such control: {request.method} {path}"}


def _add_faults(endpoint: Endpoint, body: bytes) -> tuple[int, Any]:
    try:
        given = msgspec.json.decode(body, type=Fault | list[Fault])
    except msgspec.MsgspecError as error:
        return 400, {"error": str(error)}
    ids = [endpoint.faults.add(fault) for fault in (given if isinstance(given, list) else [given])]
    return 201, {"ids": ids, "faults": endpoint.faults.active()}


class _Restart(msgspec.Struct, forbid_unknown_fields=True):
    keeps_disk: bool = True


def _restart(endpoint: Endpoint, body: bytes) -> tuple[int, Any]:
    try:
        keeps_disk = msgspec.json.decode(body or b"{}", type=_Restart).keeps_disk
    except msgspec.MsgspecError as error:
        return 400, {"error": str(error)}
    endpoint.restart(keeps_disk=keeps_disk)
    return 200, {"is_open": endpoint.is_open}


def _registry(endpoint: Endpoint, method: str, name: str, body: bytes) -> tuple[int, Any]:
    registry = endpoint.pod.store.registry
    if method == "POST" and not name:
        try:
            given = msgspec.json.decode(body, type=Content | list[Content])
        except msgspec.MsgspecError as error:
            return 400, {"error": str(error)}
        refused = [
            content for content in (given if isinstance(given, list) else [given]) if not registry.publish(content)
        ]
        if refused:
            return 400, {"error": f"not model names: {', '.join(content.name for content in refused)}"}
        return 201, {"published": registry.published()}
    if method == "DELETE" and name:
        return (200 if registry.withdraw(name) else 400), {"published": registry.published()}
    if method == "GET" and not name:
        return 200, {"published": registry.published()}
    return 404, {"error": f"no such control: {method} registry/{name}"}


def state_of(endpoint: Endpoint) -> dict[str, Any]:
    """The state of an endpoint, with counts since it was made."""
    scheduler, ledger = endpoint.pod.leasing.scheduler, endpoint.ledger
    return {
        "address": endpoint.address,
        "is_open": endpoint.is_open,
        "connections": endpoint.open_connections,
        "requests": ledger.requests,
        "running": ledger.running,
        "cold": ledger.cold,
        "cancelled": ledger.cancelled,
        "by_path": dict(ledger.by_path),
        "models": [
            {
                "name": runner.name,
                "is_loaded": runner.is_loaded,
                "running": len(runner.running),
                "waiting": len(runner.waiting),
            }
            for runner in scheduler.runners.values()
        ],
        "pending": len(scheduler.pending),
        "loads": scheduler.loads,
        "aborted_loads": scheduler.aborted_loads,
        "evictions": scheduler.evictions,
        "unloads": scheduler.unloads,
        "disk": [{"name": model.name.short, "digest": model.digest} for model in endpoint.pod.store.listed()],
        "downloaded_bytes": endpoint.pod.store.downloaded.total(),
        "partial_bytes": sum(endpoint.pod.store.partial.values()),
        "faults": endpoint.faults.active(),
        "last": [
            {
                "method": request.method,
                "path": request.path,
                "headers": [list(header) for header in request.headers],
                "body": request.body.decode("utf-8", "replace"),
            }
            for request in ledger.last
        ],
    }
