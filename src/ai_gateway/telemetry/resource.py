"""Who speaks: the attributes that stand beside everything that is exported. Imports OpenTelemetry's SDK."""

import uuid
from collections.abc import Mapping

from opentelemetry.sdk.resources import Resource

from ai_gateway.version import __version__

SERVICE_NAME = "ai-gateway-ollama"


def resource(environment: Mapping[str, str]) -> Resource:
    """The resource of this process. OTEL_RESOURCE_ATTRIBUTES and OTEL_SERVICE_NAME go before what is known here."""
    given = Resource.create().attributes  # the SDK reads both variables, and puts its own name where there is none
    own = {"service.version": __version__, "service.instance.id": str(uuid.uuid4())}
    pairs = environment.get("OTEL_RESOURCE_ATTRIBUTES", "").split(",")
    is_named = any(pair.partition("=")[0].strip() == "service.name" for pair in pairs)
    if not is_named and not environment.get("OTEL_SERVICE_NAME"):
        given = {**given, "service.name": SERVICE_NAME}
    return Resource({**own, **given})
