"""Pods and endpoint slices as the API lists them, and a source that is followed list by list."""

from collections.abc import AsyncGenerator
from contextlib import aclosing, asynccontextmanager
from typing import Any

from tests.flow.waiting import soon

from ai_gateway.discovery.source import Found, Source

Json = dict[str, Any]
Lists = AsyncGenerator[Found]


def pod(ip: str, uid: str, ready: str = "True", port: int = 11434) -> Json:
    """As the usual chart makes it."""
    return {
        "metadata": {"uid": uid},
        "spec": {"containers": [{"name": "ollama", "ports": [{"name": "api", "containerPort": port}]}]},
        "status": {"phase": "Running", "podIP": ip, "conditions": [{"type": "Ready", "status": ready}]},
    }


def sliced(ip: str, uid: str) -> Json:
    """An endpoint slice of one pod."""
    target = {"uid": uid, "name": f"pod-{uid}", "namespace": "ai"}
    endpoint = {"addresses": [ip], "conditions": {"ready": True}, "targetRef": target}
    return {"addressType": "IPv4", "endpoints": [endpoint], "ports": [{"name": "http", "port": 11434}]}


@asynccontextmanager
async def runner(source: Source) -> AsyncGenerator[Lists]:
    """Its lists; left, it watches no more."""
    async with aclosing(source.lists()) as lists:
        yield lists


async def hosts(lists: Lists) -> list[str]:
    """Of the next list."""
    return sorted(address.host for address in (await soon(anext(lists))).addresses)
