"""`serve --demo`: simulated endpoints for a machine without Ollama."""

from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ai_gateway.config.types import Config
    from ai_gateway.discovery.source import Source
    from ai_gateway.options import Options

DEMO_ENDPOINTS = 3


async def with_demo(options: "Options", stack: AsyncExitStack) -> "Options":
    """The options with simulated endpoints for the config's models, if no Ollama answers now."""
    import asyncio
    import logging

    import msgspec

    from ai_gateway.cluster.api import ApiServer
    from ai_gateway.config.loading import ConfigError, load
    from ai_gateway.config.types import Config
    from ai_gateway.discovery.selection import DiscoveryInputs, finds_nothing
    from ai_gateway.upstream.client import Client
    from ai_gateway.upstream.liveness import is_answering

    try:
        config = load(options.config_path) if options.config_path else Config()
    except ConfigError:
        config = Config()
    client = Client(asyncio.get_running_loop())
    inputs = DiscoveryInputs(
        options.environment, lambda address: is_answering(client, address), ApiServer(options.access)
    )
    nothing = await finds_nothing(config.discovery, inputs)
    client.close()
    if not nothing:
        return options
    logging.getLogger("ai_gateway.demo").warning(
        "no Ollama was found: %d SIMULATED endpoints answer instead (--demo); their text is made up", DEMO_ENDPOINTS
    )
    return msgspec.structs.replace(options, demo=await _simulated(config, stack))


async def _simulated(config: "Config", stack: AsyncExitStack) -> "Source":
    from ai_gateway.config.types import model_name
    from ai_gateway.discovery.static import StaticSource
    from ai_gateway.simulator import Settings, Simulator
    from ai_gateway.wire.address import parse_url

    names = tuple(model_name(model_id, model) for model_id, model in config.models.items())
    settings = Settings(models=names or Settings().models)
    simulator = await stack.enter_async_context(Simulator(settings, count=DEMO_ENDPOINTS))
    return StaticSource(tuple(parse_url(url) for url in simulator.urls), "demo: simulated endpoints")
