"""`ai-gateway keys`: creates API keys and maintains the file of their hashes, which the gateway reads."""

import argparse
import fcntl
import os
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from ai_gateway.cli.paths import path_flag

if TYPE_CHECKING:
    from ai_gateway.auth.keys_file import KeyEntry

_EPILOG = """examples:
  ai-gateway keys create --name team-a --models 'llama3,code*' --expires 90d --file keys.yaml
  ai-gateway keys create --name team-a                print a key, and its entry for a Secret's keys.yaml
  kubectl create secret generic ai-gateway-keys --from-file=keys.yaml
  ai-gateway keys list --file keys.yaml
  ai-gateway keys revoke --file keys.yaml ID          the key fails within 5 s of the file's change
  ai-gateway keys check --file keys.yaml < the-key    show the key's owner (without a pipe: of $AI_GATEWAY_KEY)

To rotate a key, create a second key with the same name, hand it out, then revoke the first one.
"""

_LIMITS = {
    "rpm": "calls per minute",
    "tpm": "tokens per minute",
    "concurrent": "calls at one time",
    "tokens_per_day": "tokens per day",
}


# As in config/access.py, which a command that only wants its help does not import.
ROUTES = "chat, completions, embeddings, models, audit"


def add_command(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Adds `keys` to the command's sub-commands."""
    parser = subparsers.add_parser(
        "keys",
        help="create, list, revoke and check API keys",
        description="Manages API keys. You see a key only once, when you create it; the file has only hashes.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    _add_create(actions)
    for name, meaning, act in (
        ("list", "list the keys of a file", _list),
        ("revoke", "revoke a key now", _revoke),
        ("check", "show whose key is in standard input or $AI_GATEWAY_KEY", _check),
    ):
        action = actions.add_parser(name, help=meaning, description=meaning[0].upper() + meaning[1:] + ".")
        action.add_argument("--file", type=path_flag, required=True, metavar="keys.yaml")
        if name == "revoke":
            action.add_argument("id", metavar="ID", help="the key's id, as `list` shows it")
        action.set_defaults(run=run, act=act)


def _add_create(actions: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = actions.add_parser(
        "create", help="create a key", description="Creates a key; prints it once, with its entry."
    )
    parser.add_argument("--name", required=True, help="the caller's name, in rules, logs and metrics")
    parser.add_argument("--file", type=path_flag, metavar="keys.yaml", help="file for the entry; made if missing")
    parser.add_argument("--tenant", help="the caller's tenant")
    parser.add_argument("--groups", type=_names, default=(), metavar="A,B", help="the caller's groups, for rules")
    parser.add_argument("--models", type=_names, metavar="A,B*", help="allowed models, as patterns (default: all)")
    parser.add_argument("--routes", type=_names, metavar="A,B", help=ROUTES)
    for name, meaning in _LIMITS.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, metavar="N", help=f"at most N {meaning}")
    parser.add_argument("--expires", metavar="DURATION", help="such as 90d (default: never)")
    parser.add_argument("--role", choices=("user", "admin"), default="user", help="admins read audit logs and health")
    parser.set_defaults(run=run, act=_create)


def run(arguments: argparse.Namespace) -> int:
    """0 if it is done; 1, with a reason, for an unusable file or value, or an unknown key."""
    act: Callable[[argparse.Namespace], int] = arguments.act
    try:
        return act(arguments)
    except OSError as error:
        message = f"{error.filename}: {error.strerror}" if error.filename else str(error)
        print(f"ai-gateway keys: {message}", file=sys.stderr)
    except (ValueError, ArithmeticError) as error:  # ArithmeticError: a date beyond the calendar
        print(f"ai-gateway keys: {error}", file=sys.stderr)
    return 1


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _create(arguments: argparse.Namespace) -> int:
    from ai_gateway.auth.keys_file import hash_of, new_key, write_entries

    key, key_id = new_key()
    values = {
        "id": key_id,
        "name": arguments.name,
        "hash": hash_of(key.encode()),
        "created": _now(),
        "expires": _expiry(arguments.expires),
        "tenant": arguments.tenant,
        "groups": arguments.groups,
        "models": arguments.models,
        "routes": arguments.routes,
        "limits": {name: getattr(arguments, name) for name in _LIMITS if getattr(arguments, name) is not None} or None,
        "role": arguments.role,
    }
    entry = _entry(values)
    if arguments.file is None:
        print(f"# The key, shown only now:\n{key}\n\n# Its entry, for the list `keys` of the Secret's keys.yaml:")
        print(write_entries((entry,)), end="")
        return 0
    with _alone(arguments.file):
        entries = _read(arguments.file) if arguments.file.exists() else ()
        _write(arguments.file, (*entries, entry))
    print(key)
    print(f"ai-gateway keys: {key_id} is in {arguments.file}; the key above is shown only now", file=sys.stderr)
    return 0


def _entry(values: dict[str, object]) -> "KeyEntry":
    """An entry that the gateway accepts. Raises ValueError."""
    import msgspec

    from ai_gateway.auth.keys_file import KeyEntry
    from ai_gateway.config.choices import choices
    from ai_gateway.config.plain_types import plain

    try:
        return msgspec.convert({key: value for key, value in values.items() if value is not None}, KeyEntry)
    except msgspec.ValidationError as error:
        reason, _, place = str(error).partition(" - at `$.")
        place = place.rstrip("`")
        flag = place.removeprefix("limits.").partition("[")[0].replace("_", "-")
        if flag == "name":
            reason = "a name has 1 to 128 characters, and no spaces among them"
        elif words := choices(KeyEntry, f".{place}"):
            reason += f"; use one of {', '.join(words)}"
        raise ValueError(f"--{flag}: {plain(reason)}") from None


def _expiry(text: str | None) -> datetime | None:
    from ai_gateway.config.loading import pause

    return None if text is None else _now() + timedelta(seconds=pause(text))


def _now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)


def _list(arguments: argparse.Namespace) -> int:
    rows = [("ID", "NAME", "STATUS", "EXPIRES", "TENANT", "ROLE", "MODELS")]
    for entry in _read(arguments.file):
        expires = "never" if entry.expires is None else entry.expires.astimezone(UTC).strftime("%Y-%m-%d %H:%M")
        models = "all" if entry.models is None else ",".join(entry.models) or "none"
        rows.append((entry.id, entry.name, entry.status(_now()), expires, entry.tenant or "-", entry.role, models))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    return 0


def _revoke(arguments: argparse.Namespace) -> int:
    import msgspec

    with _alone(arguments.file):
        entries = _read(arguments.file)
        if arguments.id not in {entry.id for entry in entries}:
            raise ValueError(f"{arguments.file} has no key with the id {arguments.id[:8]}")
        ended = tuple(
            msgspec.structs.replace(entry, revoked=entry.revoked or _now()) if entry.id == arguments.id else entry
            for entry in entries
        )
        _write(arguments.file, ended)
    print(f"{arguments.id} is revoked")
    return 0


def _check(arguments: argparse.Namespace) -> int:
    from ai_gateway.auth.keys import Keys

    given = os.environ.get("AI_GATEWAY_KEY", "") if sys.stdin.isatty() else sys.stdin.readline()
    key = (given.strip() or os.environ.get("AI_GATEWAY_KEY", "")).encode()
    entries = _read(arguments.file)
    keys = Keys()
    keys.take(entries)
    known = keys.find(key)
    if known is not None:
        print(f"{known.key_id}: a key of {known.name}, {known.role}")
        return 0
    ended = next((entry for entry in entries if entry.hash == _hash(key)), None)
    reason = f"{arguments.file} does not have this key" if ended is None else f"{ended.id}: {ended.status(_now())}"
    print(f"ai-gateway keys: {reason}", file=sys.stderr)
    return 1


def _read(path: Path) -> "tuple[KeyEntry, ...]":
    from ai_gateway.auth.keys_file import MAX_BYTES, read_entries
    from ai_gateway.config.reading import read

    return read_entries(read(path, MAX_BYTES).data)


def _hash(key: bytes) -> str:
    from ai_gateway.auth.keys_file import hash_of

    return hash_of(key)


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Makes other commands wait while this one changes a file in the folder."""
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def _write(path: Path, entries: "tuple[KeyEntry, ...]") -> None:
    """Replaces the whole file at once. Only the owner can read a new file; an old one keeps its permissions."""
    from ai_gateway.auth.keys_file import write_entries

    beside = path.with_name(f".{path.name}.new")
    beside.unlink(missing_ok=True)
    with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(write_entries(entries))
        if path.exists():
            was = path.stat()
            os.fchmod(file.fileno(), stat.S_IMODE(was.st_mode))
            with suppress(PermissionError):
                os.fchown(file.fileno(), was.st_uid, was.st_gid)
    beside.replace(path)
