"""Leaving a section out never turns off protection: which sections new content must keep, and which are required."""

from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING, Final, NamedTuple

from ai_gateway.config.access import is_on
from ai_gateway.config.audit import AuditSection
from ai_gateway.config.limits import LimitsSection
from ai_gateway.config.reason import ConfigReason
from ai_gateway.config.sections import OFF

if TYPE_CHECKING:
    from ai_gateway.config.types import Config

REQUIRABLE: Final = tuple(OFF)

_MODES: Final = ("best_effort", "blocking", "strict")


class Parsed(NamedTuple):
    """A config, and the paths that its file sets."""

    config: "Config"
    written: frozenset[str]


def names_in(text: str) -> frozenset[str]:
    """The sections that `--require` lists, separated by commas. Raises ValueError for an unknown one."""
    names = frozenset(text.replace(",", " ").split())
    for name in sorted(names):
        if name not in REQUIRABLE:
            raise ValueError(f"--require (AI_GATEWAY_REQUIRE): {name!r} is not one of {', '.join(REQUIRABLE)}")
    return names


def missing_sections(required: Collection[str], new: Parsed) -> Iterator[ConfigReason]:
    """The required sections that the file lacks. A line that turns one off counts as present."""
    for name in REQUIRABLE:
        if name in required and name not in new.written:
            yield ConfigReason(
                name, f"is missing, and --require demands it: add it, or to turn it off write `{OFF[name]}`"
            )


def missing_protection(in_force: "Config", new: Parsed) -> Iterator[ConfigReason]:
    """Protection in force that new content would turn off by leaving it out. Edits within a section are accepted."""
    config, written = new
    protecting = {
        "auth": is_on(in_force.auth),
        "callers": in_force.callers is not None,
        "limits": in_force.limits not in (None, LimitsSection()),
        "audit": _promises(in_force.audit),
        "tls": in_force.tls is not None,
    }
    for name, is_protecting in protecting.items():
        if is_protecting and name not in written:
            yield ConfigReason(
                name, f"is in force, and leaving it out does not turn it off: to turn it off write `{OFF[name]}`"
            )
    if "audit" in written and "audit.mode" not in written and config.audit.store != "none":
        before = in_force.audit.mode
        if in_force.audit.store != "none" and _MODES.index(before) > _MODES.index(config.audit.mode):
            yield ConfigReason(
                "audit.mode", f"is {before}, and leaving it out does not lower it: to lower it write `{OFF['audit']}`"
            )
    if in_force.tls and in_force.tls.client_ca and config.tls and "tls.client_ca" not in written:
        yield ConfigReason(
            "tls.client_ca",
            "is in force, and leaving it out does not turn it off: to turn it off write `client_ca: none`",
        )


def _promises(audit: AuditSection) -> bool:
    """Whether it keeps more than the default audit does, or keeps it better."""
    usual = AuditSection()
    if audit.store == "none":
        return False
    named = ("store", "mode", "level", "redact", "key_file", "hash_prompts")
    return audit.keep > usual.keep or any(getattr(audit, key) != getattr(usual, key) for key in named)
