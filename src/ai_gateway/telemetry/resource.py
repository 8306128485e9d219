"""The resource: attributes of the process on everything that is exported. Imports OpenTelemetry's SDK."""

import uuid
from collections.abc import Mapping

from opentelemetry.sdk.resources import Resource

from ai_gateway.version import __version__

SERVICE_NAME = "ai-gateway-ollama"


def process_resource(environment: Mapping[str, str]) -> Resource:
    """The resource of this process. OTEL_RESOURCE_ATTRIBUTES and OTEL_SERVICE_NAME override the defaults."""
    given = Resource.create().attributes  # the SDK reads both variables, and sets a default name
    own = {"service.version": __version__, "service.instance.id": str(uuid.uuid4())}
    pairs = environment.get("OTEL_RESOURCE_ATTRIBUTES", "").split(",")
    is_named = any(pair.partition("=")[0].strip() == "service.name" for pair in pairs)
    if not is_named and not environment.get("OTEL_SERVICE_NAME"):
        given = {**given, "service.name": SERVICE_NAME}
    return Resource({**own, **given})
