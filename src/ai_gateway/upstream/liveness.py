"""Checks once whether an Ollama answers at an address."""

import asyncio
from typing import Final

import httpx

from ai_gateway.upstream.client import Client
from ai_gateway.upstream.transport import httpx_client
from ai_gateway.wire.address import Address

ANSWER_SECONDS: Final = 1.0


async def is_answering(client: Client, address: Address) -> bool:
    """Whether an Ollama answers at the address within a second."""
    try:
        async with httpx_client(client, address) as http, asyncio.timeout(ANSWER_SECONDS):
            return (await http.get("/api/version")).status_code == 200
    except (httpx.HTTPError, TimeoutError):
        return False
