"""Exporters over gRPC, an extra: most collectors also take HTTP, and grpcio is large."""

import importlib
from typing import Any


def grpc_exporter(module: str, name: str) -> Any:
    """An exporter of OpenTelemetry's, by its module below `opentelemetry.exporter.otlp.proto.grpc`.

    Raises ValueError if the extra is not installed.
    """
    try:
        found = importlib.import_module(f"opentelemetry.exporter.otlp.proto.grpc.{module}")
    except ImportError:
        raise ValueError("OTLP over grpc needs an extra: pip install 'ai-gateway-ollama[grpc]'") from None
    return getattr(found, name)()
