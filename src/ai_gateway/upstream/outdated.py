"""Versions of Ollama that a gateway can hurt."""

from typing import Final

from ai_gateway.wire.versions import version_of

# Earlier ones read the map of loaded models without its lock in /api/ps; Go ends a process that does this while the
# map changes (server/routes.go, PsHandler).
SAFE_TO_POLL: Final = "0.32.10"


def reason_to_update(version: str | None) -> str | None:
    """Why an endpoint should get a newer Ollama; None if it need not, or its version says nothing."""
    known, safe = version_of(version), version_of(SAFE_TO_POLL)
    if known is None or safe is None or known >= safe:
        return None
    return (
        f"Ollama {version} can crash when /api/ps is requested while a model loads or unloads: "
        f"update it to {SAFE_TO_POLL} or newer"
    )
