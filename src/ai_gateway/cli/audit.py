"""`ai-gateway audit`: checks the chain of an audit, and writes its entries out."""

import argparse
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ai_gateway.cli.paths import path_flag

if TYPE_CHECKING:
    from ai_gateway.audit.chain import Checkpoint, Fault
    from ai_gateway.audit.entry import Entry
    from ai_gateway.audit.store import Archive, Query
    from ai_gateway.config.auditing import Audit

_EPILOG = """examples:
  ai-gateway audit verify                                  the store that config.yml means
  ai-gateway audit verify --store audit.db --checkpoints checkpoints.jsonl
  ai-gateway audit export --format csv --since 2026-01-31 --actor team-a > january.csv

verify exits with 1 and a line for each writer whose chain is broken, at its first bad entry: edited, missing,
reordered, inserted, cut off (the checkpoints know of entries that are not there), or forged (a checkpoint that was made
without the key). 2: nothing could be checked. Whoever can remove entries can remove the store's own checkpoints: only
--checkpoints shows that a writer, or the end of its chain, went with them.
"""
_UNSEEN: Final = "; without --checkpoints FILE what was removed together with its checkpoints is not missed"
_FAULT: Final = 1
_TROUBLE: Final = 2
_PAGE: Final = 1000


def add_command(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Adds `audit` to the command's sub-commands."""
    parser = subparsers.add_parser(
        "audit",
        help="check the audit, or write its entries out",
        description="Works on the audit's store itself, beside a running gateway or without one.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    checked = commands.add_parser("verify", help="check the hash chain of every writer")
    _add_place(checked)
    checked.add_argument(
        "--key-file", type=path_flag, metavar="FILE", help="the chain's key, where it is not in its place"
    )
    checked.add_argument(
        "--checkpoints",
        type=path_flag,
        action="append",
        default=[],
        metavar="FILE",
        help="checkpoints kept elsewhere: the file of `audit.checkpoints`, or the gateway's standard output; may be "
        "given several times",
    )
    checked.set_defaults(run=verify)
    written = commands.add_parser("export", help="write entries to standard output, the newest first")
    _add_place(written)
    written.add_argument("--format", choices=("ndjson", "csv"), default="ndjson", help="(default ndjson)")
    for name in ("actor", "model", "status", "outcome", "since", "until", "request-id", "tenant"):
        written.add_argument(f"--{name}", metavar=name.upper(), help=f"as the filter of GET /v1/audit/logs ({name})")
    written.set_defaults(run=export)


def _add_place(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--config",
        type=path_flag,
        default=os.environ.get("AI_GATEWAY_CONFIG") or None,
        metavar="FILE",
        help="the config whose `audit` says where the store is (default config.yml; without one, the usual place)",
    )
    parser.add_argument("--store", type=path_flag, metavar="FILE", help="an SQLite store, whatever the config says")


def verify(arguments: argparse.Namespace) -> int:
    """0 for a chain that is whole, 1 with a line for each writer where it is not, 2 where it could not be checked."""
    from ai_gateway.audit.key import read_key
    from ai_gateway.audit.store import StoreUnavailable
    from ai_gateway.audit.stores import key_path

    try:
        audit = _audit(arguments)
        path = arguments.key_file or key_path(audit, os.environ)
        if path is None:
            raise StoreUnavailable("the key is not in a known place; name it with --key-file")
        archive, key = _open(audit), read_key(path)
        told = tuple(_checkpoints(arguments.checkpoints))
        faults, story = _look(archive, told, key)
        if faults:  # a gateway may have removed old entries between the two things that were read
            again, story = _look(archive, told, key)
            faults = [fault for fault in again if fault in faults]
    except (StoreUnavailable, OSError, ValueError) as error:
        print(f"ai-gateway audit verify: {error}", file=sys.stderr)
        return _TROUBLE
    archive.close()
    for fault in faults:
        print(f"{fault.writer} {fault.sequence}: {fault.what}")
    if not faults:
        print(story)
    return _FAULT if faults else 0


def _look(archive: "Archive", told: "tuple[Checkpoint, ...]", key: bytes) -> "tuple[list[Fault], str]":
    """What is wrong, and what was looked at."""
    from ai_gateway.audit.chain import verify

    known = [*archive.checkpoints(), *told]
    count = _Count()
    faults = list(verify(count.counted(archive.chain()), known, key))
    story = f"ok: {count.entries} entries of {len(count.writers)} writers, {len(known)} checkpoints"
    return faults, story if told else story + _UNSEEN


def export(arguments: argparse.Namespace) -> int:
    """0, or 2 with a line that says what stood in the way."""
    from ai_gateway.audit.asking import FILTERS, BadQuestion, read_query
    from ai_gateway.audit.listing import as_csv, as_lines
    from ai_gateway.audit.store import StoreUnavailable

    given = {name: value for name in FILTERS if (value := getattr(arguments, name)) is not None}
    try:
        archive = _open(_audit(arguments))
        entries = _pages(archive, read_query({**given, "limit": str(_PAGE)}))
        for line in (as_csv if arguments.format == "csv" else as_lines)(entries):
            sys.stdout.buffer.write(line)
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        sys.stdout = None  # whoever read had enough: nothing is flushed any more
        return 0
    except (StoreUnavailable, BadQuestion, OSError, ValueError) as error:
        print(f"ai-gateway audit export: {error}", file=sys.stderr)
        return _TROUBLE
    archive.close()
    return 0


class _Count:
    """What was looked at. Changed by `counted`, as its entries are taken."""

    def __init__(self) -> None:
        self.entries = 0
        self.writers: set[str] = set()

    def counted(self, chain: Iterator[tuple["Entry", bytes]]) -> Iterator[tuple["Entry", bytes]]:
        """The same entries."""
        for entry, digest in chain:
            self.entries += 1
            self.writers.add(entry.writer)
            yield entry, digest


def _audit(arguments: argparse.Namespace) -> "Audit":
    """Where the store is. Raises ValueError for a config that is not valid."""
    from ai_gateway.config.auditing import Audit
    from ai_gateway.config.loading import ConfigError, load
    from ai_gateway.config.units import FilePath

    path: Path = arguments.config or Path("config.yml")
    if arguments.store is not None:
        return Audit(path=FilePath(arguments.store))
    if arguments.config is None and not path.exists():
        return Audit()
    try:
        return load(path / "config.yml" if path.is_dir() else path).audit
    except ConfigError as error:
        raise ValueError(f"{path}: {error}") from None


def _open(audit: "Audit") -> "Archive":
    from ai_gateway.audit.store import StoreUnavailable
    from ai_gateway.audit.stores import sides

    archive = sides(audit, os.environ).archive
    if archive is None:
        raise StoreUnavailable(f"a store {audit.store} cannot be read here")
    archive.open()
    return archive


def _pages(archive: "Archive", query: "Query") -> Iterator["Entry"]:
    """All entries of a query, page by page."""
    import msgspec

    from ai_gateway.audit.asking import page_of

    while True:
        page = page_of(archive, query)
        yield from page.entries
        if page.next is None:
            return
        query = msgspec.structs.replace(query, after=page.next)


def _checkpoints(files: list[Path]) -> Iterator["Checkpoint"]:
    """Those among the lines of these files; other lines are passed over."""
    import msgspec

    from ai_gateway.audit.chain import Checkpoint

    for path in files:
        with path.open("rb") as lines:
            for line in lines:
                if b'"audit_checkpoint":' in line:
                    # A collector may have put something of its own before the line.
                    told: dict[str, Any] = msgspec.json.decode(line[line.index(b"{") :])
                    yield msgspec.convert(told["audit_checkpoint"], Checkpoint)
