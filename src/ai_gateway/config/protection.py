"""What protects is never turned off by absence: what new content must still say, and what any content must contain."""

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
    """A config as it was read: what it comes to, and the paths that were written in it."""

    config: "Config"
    written: frozenset[str]


def names_in(text: str) -> frozenset[str]:
    """The sections that `--require` names, parted by commas. Raises ValueError for one that there is not."""
    names = frozenset(text.replace(",", " ").split())
    for name in sorted(names):
        if name not in REQUIRABLE:
            raise ValueError(f"--require (AI_GATEWAY_REQUIRE): {name!r} is none of {', '.join(REQUIRABLE)}")
    return names


def missing_sections(required: Collection[str], new: Parsed) -> Iterator[ConfigReason]:
    """What must be in the file and is not; a word that turns it off is in the file, too."""
    for name in REQUIRABLE:
        if name in required and name not in new.written:
            yield ConfigReason(name, f"is missing, and --require asks for it; to go without it write `{OFF[name]}`")


def missing_protection(in_force: "Config", new: Parsed) -> Iterator[ConfigReason]:
    """What protects now and would go since nobody wrote of it. An edit within a section is an edit, and is taken."""
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
            yield ConfigReason(name, f"is in force, and is not turned off by leaving it out: write `{OFF[name]}`")
    if "audit" in written and "audit.mode" not in written and config.audit.store != "none":
        before = in_force.audit.mode
        if in_force.audit.store != "none" and _MODES.index(before) > _MODES.index(config.audit.mode):
            yield ConfigReason(
                "audit.mode", f"is {before}, and is not turned down by leaving it out: write `{OFF['audit']}`"
            )
    if in_force.tls and in_force.tls.client_ca and config.tls and "tls.client_ca" not in written:
        yield ConfigReason(
            "tls.client_ca", "is in force, and is not turned off by leaving it out: write `client_ca: none`"
        )


def _promises(audit: AuditSection) -> bool:
    """Whether it keeps more, or keeps it better, than the audit that there is without a word about it."""
    usual = AuditSection()
    if audit.store == "none":
        return False
    named = ("store", "mode", "level", "redact", "key_file", "hash_prompts")
    return audit.keep > usual.keep or any(getattr(audit, key) != getattr(usual, key) for key in named)
