"""The `audit` section of config.yml: what the gateway keeps of each request, and where. All of it needs a *restart*."""

import re
import time
from collections.abc import Iterator
from typing import Annotated, Final, Literal

from msgspec import Meta

from ai_gateway.config.pattern_cost import endless, slow
from ai_gateway.config.units import ByteCount, FilePath, Seconds, Section, default

AuditMode = Literal["best_effort", "blocking", "strict"]
AuditStore = Literal["sqlite", "postgresql", "jsonl", "otlp", "none"]
AuditLevel = Literal["metadata", "request", "full"]

DEEPER: Final = 50  # calls
REDACT_SECONDS: Final = 5.0  # of CPU, for all patterns together

MOST_DSN_CHARACTERS: Final = 4096  # patterns stay quick on so few
# The two forms of a DSN that libpq takes, and where each may hold a password.
_DSN: Final = re.compile(r"postgres(?:ql)?://[!-~]+$|\s*[a-z_]+\s*=")
_PASSWORD: Final = re.compile(r"(?:^|[\s?&'])password\s*=|://[^/@]*:[^/@]*@")
# These cannot be asked which intents are open.
_WITHOUT_INTENTS: Final = ("jsonl", "otlp")


class AuditSection(Section, frozen=True):
    """One entry for each request to the API, in a store that you can query and verify. *restart* after a change."""

    store: Annotated[
        AuditStore,
        Meta(description="where entries go. Several gateways share `postgresql`; `none` turns the audit off"),
    ] = "sqlite"
    mode: Annotated[
        AuditMode,
        Meta(
            description="`best_effort` never delays a request; `blocking` writes the entry before the last byte of "
            "the answer; `strict` also writes an intent before it sends the call, and sends no call "
            "without one"
        ),
    ] = "best_effort"
    level: Annotated[
        AuditLevel,
        Meta(description="`request` also keeps what the caller asked, `full` the answer, too; both are redacted"),
    ] = "metadata"
    path: Annotated[
        FilePath | None,
        Meta(
            description="file of `sqlite` or `jsonl`, or `stdout` for `jsonl`; without it `audit.db` or `audit.jsonl` "
            "in `$XDG_STATE_HOME/ai-gateway-ollama`, or in `~/.local/state/ai-gateway-ollama`"
        ),
    ] = None
    dsn: Annotated[str | None, Meta(description="connection string of `postgresql`, without the password")] = None
    dsn_file: Annotated[FilePath | None, Meta(description="file with the DSN, such as a mounted Secret's")] = None
    spool: Annotated[
        FilePath | None,
        Meta(
            description="folder of its own in which entries wait while `postgresql` is away; without it `audit-spool` "
            "in the state directory, as for `path`"
        ),
    ] = None
    spool_size: Annotated[ByteCount, Meta(description="of the spool; beyond it the audit cannot be written")] = default(
        ByteCount(64 << 20)
    )
    keep: Annotated[Seconds, Meta(description="the gateway removes older entries")] = default(Seconds(30 * 86400))
    max_size: Annotated[
        ByteCount, Meta(description="size of the store; above it the gateway removes the oldest entries")
    ] = default(ByteCount(2 << 30))
    key_file: Annotated[
        FilePath | None,
        Meta(description="key of the hash chain, 32 bytes or more; without it the gateway makes one next to the store"),
    ] = None
    checkpoints: Annotated[
        FilePath,
        Meta(
            description="second place for the chain's checkpoints: `stdout` or a file; `none` keeps them in the store "
            "alone"
        ),
    ] = default(FilePath("stdout"))
    allow_unauthenticated_reads: Annotated[
        bool, Meta(description="let anyone read GET /v1/audit/logs while authentication is off")
    ] = False
    redact: Annotated[
        tuple[str, ...],
        Meta(
            description="regular expressions; the audit drops text that matches. It always drops e-mail addresses, "
            "card and phone numbers, and what looks like a key"
        ),
    ] = ()
    max_content: Annotated[
        ByteCount, Meta(description="most bytes kept of what the caller asked, and of the answer, each")
    ] = default(ByteCount(64 << 10))
    hash_prompts: Annotated[bool, Meta(description="keep a keyed hash of what the caller asked")] = False


def reasons(audit: AuditSection) -> Iterator[tuple[str, str]]:
    """Checks that the types cannot make: the key, and the reason to refuse it."""
    if audit.store in _WITHOUT_INTENTS and audit.mode == "strict":
        yield (
            "mode",
            f"`strict` needs a store that can list open intents: use sqlite or postgresql instead of {audit.store}",
        )
    if audit.store == "postgresql" and (audit.dsn is None) == (audit.dsn_file is None):
        yield "dsn", "the store postgresql needs either `dsn` or `dsn_file`: set one of them"
    if audit.dsn is not None and len(audit.dsn) > MOST_DSN_CHARACTERS:
        yield "dsn", f"is longer than {MOST_DSN_CHARACTERS} characters"
        return
    if audit.dsn is not None and not _DSN.match(audit.dsn):
        yield "dsn", "is not a DSN: write a URL such as postgresql://user@host:5432/database, or `host=db dbname=audit`"
    if audit.dsn is not None and _PASSWORD.search(audit.dsn):
        yield "dsn", "contains a password: put the DSN into a file, and name the file in `dsn_file`"
    if audit.store == "postgresql" and audit.key_file is None:
        yield (
            "key_file",
            "is missing: gateways that share a store need the same key to verify it. Name the file with the key",
        )
    if audit.store not in ("sqlite", "jsonl") and audit.path is not None:
        yield "path", f"applies only to the stores sqlite and jsonl, not to {audit.store}: remove it"
    yield from _redact_reasons(audit.redact)


def warnings(audit: AuditSection) -> Iterator[str]:
    """Likely mistakes in a valid config."""
    if audit.level == "metadata":
        return
    for index, pattern in enumerate(audit.redact):
        seconds = slow(re.compile(pattern), audit.max_content)
        if seconds is not None:
            cost = f"may take {seconds:.1f} s of CPU for {audit.max_content} characters"
            yield (
                f"audit.redact[{index}]: {pattern!r} {cost}; "
                "the audit drops text that it cannot check within 1 s. Limit its repeats, as in `\\w{1,64}`, or start "
                "it with fixed text"
            )


def _redact_reasons(patterns: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    began = time.thread_time()
    for index, pattern in enumerate(patterns):
        try:
            text = endless(_deeper(DEEPER, pattern))
            if text is not None:
                why = "its nested repeats match in too many ways. Simplify it"
                yield f"redact[{index}]", f"{pattern!r} takes unlimited time, for example on {text!r}: {why}"
        except Exception as failure:  # not only re.error: groups nested too deep, numbers too large
            why = str(failure) if isinstance(failure, re.error) else f"{type(failure).__name__}: {failure}"
            yield f"redact[{index}]", f"{pattern!r} is not a usable regular expression: {why}"
        if time.thread_time() - began > REDACT_SECONDS:
            yield "redact", f"takes more than {REDACT_SECONDS:g} s of CPU to check: use fewer or simpler patterns"
            return


def _deeper(levels: int, pattern: str) -> "re.Pattern[str]":
    """Compiles so many calls deep. The audit compiles again deeper in the stack, with less room for nested groups."""
    return re.compile(pattern) if levels == 0 else _deeper(levels - 1, pattern)
