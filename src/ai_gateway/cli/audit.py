"""`ai-gateway audit`: checks the hash chain of an audit, and exports its entries."""

import argparse
import os
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ai_gateway.cli.paths import path_flag

if TYPE_CHECKING:
    from ai_gateway.audit.chain import Checkpoint
    from ai_gateway.audit.damage import Damaged
    from ai_gateway.audit.entry import AuditEntry
    from ai_gateway.audit.store import Archive, Query
    from ai_gateway.audit.verification import VerifyResult
    from ai_gateway.config.audit import AuditSection

_EPILOG = """examples:
  ai-gateway audit verify                                  the store that config.yml names
  ai-gateway audit verify --store audit.db --checkpoints checkpoints.jsonl
  ai-gateway audit export --format csv --since 2026-01-31 --actor team-a > january.csv

verify prints a line for each writer with a broken chain, at its first bad entry, and exits with 1. The entry is edited,
missing, reordered, inserted, cut off (checkpoints name entries that are not there), lost (the gateway itself noticed
it), unended (an intent has no end and is not open), or forged (a checkpoint was made without the key). It also exits
with 1 if the store itself is damaged, and with 2 if it could not check anything. Anyone who can remove entries can
also remove the store's own checkpoints: only --checkpoints shows that a whole writer, or the end of its chain, is
missing. export exits with 1 if some rows are not valid entries, and names them on standard error.
"""
_FILTERS: Final = {  # those of GET /v1/audit/logs
    "actor": "of this caller",
    "model": "that name this model",
    "status": "with this HTTP status",
    "outcome": "that ended like this, such as `ok` or `denied`",
    "since": "from this time on: 2026-01-31, 2026-01-31T12:00:00Z or Unix seconds",
    "until": "before this time, in the same forms",
    "request-id": "with this `x-request-id`",
    "tenant": "of this tenant",
}
_UNSEEN: Final = "; add --checkpoints FILE to notice entries that were removed together with their checkpoints"
_HAS_FINDINGS: Final = 1
_NOT_CHECKED: Final = 2
_PAGE: Final = 1000
_MAX_DAMAGED_LINES: Final = 20
_MOST_LINE: Final = 1 << 16  # bytes of a log line; a checkpoint is far shorter


def add_command(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Adds `audit` to the command's sub-commands."""
    parser = subparsers.add_parser(
        "audit",
        help="check the audit, or export its entries",
        description="Reads the audit's store directly; the gateway may be running or not.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    checked = commands.add_parser("verify", help="check the hash chain of every writer")
    _add_place(checked)
    checked.add_argument(
        "--key-file", type=path_flag, metavar="FILE", help="the chain's key, if it is not in the usual place"
    )
    checked.add_argument(
        "--checkpoints",
        type=path_flag,
        action="append",
        default=[],
        metavar="FILE",
        help="checkpoints kept outside the store: the file of `audit.checkpoints`, or the gateway's standard output; "
        "may be given several times",
    )
    checked.set_defaults(run=verify)
    written = commands.add_parser("export", help="write entries to standard output, the newest first")
    _add_place(written)
    written.add_argument("--format", choices=("ndjson", "csv"), default="ndjson", help="(default ndjson)")
    for name, meaning in _FILTERS.items():
        written.add_argument(f"--{name}", metavar=name.upper(), help=f"only entries {meaning}")
    written.set_defaults(run=export)


def _add_place(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--config",
        type=path_flag,
        default=os.environ.get("AI_GATEWAY_CONFIG") or None,
        metavar="FILE",
        help="the config whose `audit` names the store (default config.yml; without one, the default store)",
    )
    parser.add_argument("--store", type=path_flag, metavar="FILE", help="an SQLite store; overrides the config")


def verify(arguments: argparse.Namespace) -> int:
    """0 for a whole audit, 1 with a line for each finding, 2 if it could not be checked."""
    from ai_gateway.audit.store import StoreUnavailable
    from ai_gateway.wire.printable import printable

    try:
        result = _examined(_audit(arguments), arguments)
    except (StoreUnavailable, OSError, ValueError) as error:
        print(f"ai-gateway audit verify: {error}", file=sys.stderr)
        return _NOT_CHECKED
    for sentence in result.store:
        print(printable(f"the store: {sentence}"))
    for finding in result.findings:
        detail = f" ({finding.detail})" if finding.detail else ""
        print(printable(f"{finding.writer} {finding.sequence}: {finding.what}{detail}"))
    if result.is_cut:
        print(f"... and more: only the first {len(result.findings)} are shown")
    if result.is_good:
        sentence = f"ok: {result.entries} entries of {result.writers} writers, {result.checkpoints} checkpoints"
        print(sentence if arguments.checkpoints else sentence + _UNSEEN)
    return 0 if result.is_good else _HAS_FINDINGS


def _examined(audit: "AuditSection", arguments: argparse.Namespace) -> "VerifyResult":
    """Raises StoreUnavailable, or OSError for a file of checkpoints or the key."""
    from ai_gateway.audit.store import StoreDamaged, StoreUnavailable
    from ai_gateway.audit.verification import VerifyResult, examine, without_store

    checkpoints = list(_checkpoints(arguments.checkpoints))
    try:
        archive = _open(audit)
    except StoreUnavailable as error:
        if checkpoints and (isinstance(error, StoreDamaged) or _is_missing(audit)):
            return without_store(checkpoints, _key(audit, arguments), str(error))
        if isinstance(error, StoreDamaged):
            return VerifyResult(store=[str(error)])
        raise
    try:
        return examine(archive, checkpoints, _key(audit, arguments))
    finally:
        archive.close()


def _key(audit: "AuditSection", arguments: argparse.Namespace) -> bytes:
    from ai_gateway.audit.key import read_key
    from ai_gateway.audit.stores import key_path

    path = arguments.key_file or key_path(audit, os.environ)
    if path is None:
        raise ValueError("cannot find the chain's key; name its file with --key-file")
    return read_key(path)


def _is_missing(audit: "AuditSection") -> bool:
    from ai_gateway.audit.stores import path_of

    path = path_of(audit, os.environ) if audit.store == "sqlite" else None
    return path is not None and not path.exists()


def export(arguments: argparse.Namespace) -> int:
    """0; 1 if some rows are not entries; 2 with a reason if nothing could be exported."""
    from ai_gateway.audit.format import as_csv, as_lines
    from ai_gateway.audit.query import FILTERS, BadQuestion, read_query
    from ai_gateway.audit.store import StoreDamaged, StoreUnavailable

    given = {name: value for name in FILTERS if (value := getattr(arguments, name)) is not None}
    try:
        archive = _open(_audit(arguments))
        damaged: list[Damaged] = []
        entries = _pages(archive, read_query({**given, "limit": str(_PAGE)}), damaged)
        for line in (as_csv if arguments.format == "csv" else as_lines)(entries):
            sys.stdout.buffer.write(line)
        sys.stdout.buffer.flush()
        is_whole = _list_damaged(damaged, archive.unplaced())
    except BrokenPipeError:
        sys.stdout = None  # the reader closed the pipe: flush nothing more
        return 0
    except (StoreUnavailable, BadQuestion, OSError, ValueError) as error:
        print(f"ai-gateway audit export: {error}", file=sys.stderr)
        return _HAS_FINDINGS if isinstance(error, StoreDamaged) else _NOT_CHECKED
    archive.close()
    return 0 if is_whole else _HAS_FINDINGS


def _list_damaged(damaged: "list[Damaged]", unplaced: int) -> bool:
    """Prints which rows are not in the export. Returns whether there are none."""
    from ai_gateway.wire.printable import printable

    for row in damaged[:_MAX_DAMAGED_LINES]:
        where = f"{row.writer} {'?' if row.sequence is None else row.sequence}"
        print(printable(f"ai-gateway audit export: left out: {where}: {row.reason}"), file=sys.stderr)
    if len(damaged) > _MAX_DAMAGED_LINES:
        print(f"ai-gateway audit export: left out: {len(damaged) - _MAX_DAMAGED_LINES} more", file=sys.stderr)
    if unplaced:
        message = f"left out: {unplaced} rows without a writer, a number or a time; see `audit verify`"
        print(f"ai-gateway audit export: {message}", file=sys.stderr)
    return not damaged and not unplaced


def _audit(arguments: argparse.Namespace) -> "AuditSection":
    """The config's `audit`, which names the store. Raises ValueError if the config is not valid."""
    from ai_gateway.config.audit import AuditSection
    from ai_gateway.config.loading import ConfigError, load
    from ai_gateway.config.units import FilePath

    path: Path = arguments.config or Path("config.yml")
    if arguments.store is not None:
        return AuditSection(path=FilePath(arguments.store))
    if arguments.config is None and not path.exists():
        return AuditSection()
    try:
        return load(path / "config.yml" if path.is_dir() else path).audit
    except ConfigError as error:
        raise ValueError(f"{path}: {error}") from None


def _open(audit: "AuditSection") -> "Archive":
    from ai_gateway.audit.store import StoreUnavailable
    from ai_gateway.audit.stores import store_pair

    archive = store_pair(audit, os.environ).archive
    if archive is None:
        raise StoreUnavailable(f"this command cannot read the store {audit.store}")
    archive.open()
    return archive


def _pages(archive: "Archive", query: "Query", damaged: "list[Damaged]") -> Iterator["AuditEntry"]:
    """All entries of a query, page by page; adds rows that are not entries to `damaged`."""
    import msgspec

    from ai_gateway.audit.query import page_of

    while True:
        page = page_of(archive, query)
        yield from page.entries
        damaged += page.damaged
        if page.next is None:
            return
        query = msgspec.structs.replace(query, after=page.next)


def _checkpoints(files: list[Path]) -> Iterator["Checkpoint"]:
    """The checkpoints among the lines of these files. Skips other lines, and warns of an unreadable checkpoint."""
    import msgspec

    from ai_gateway.audit.chain import Checkpoint
    from ai_gateway.wire.unreadable import UNREADABLE

    for path in files:
        with path.open("rb") as file:
            for number, line in enumerate(iter(partial(file.readline, _MOST_LINE), b""), 1):
                if b'"audit_checkpoint":' not in line:
                    continue
                try:
                    # A log collector may have put a prefix before the line.
                    fields: dict[str, Any] = msgspec.json.decode(line[line.index(b"{") :])
                    yield msgspec.convert(fields["audit_checkpoint"], Checkpoint)
                except (*UNREADABLE, ValueError, LookupError, TypeError):
                    what = "is not a readable checkpoint; skipped"
                    print(f"ai-gateway audit verify: line {number} of {path} {what}", file=sys.stderr)
