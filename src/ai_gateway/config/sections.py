"""The sections of config.yml before they get types: empty ones count as absent, and some words mean "off".

Only a written word turns off protection. So it matters which keys the file sets, not only their values.
"""

from functools import cache
from types import NoneType, UnionType
from typing import Annotated, Any, Final, Union, get_args, get_origin, get_type_hints

from ai_gateway.config.reason import ConfigReason
from ai_gateway.config.units import Section

# The line that turns a protection off, or lowers it.
OFF: Final[dict[str, str]] = {
    "auth": "auth: {methods: [none]}",
    "callers": "callers: all",
    "limits": "limits: none",
    "audit": "audit: {mode: best_effort}",
    "tls": "tls: none",
}
# A word in place of a value: there is none.
WORDS: Final[dict[str, str]] = {"callers": "all", "limits": "none", "tls": "none", "tls.client_ca": "none"}
# An empty one is ambiguous, and one of its meanings would let everyone in.
NEVER_EMPTY: Final = ("auth", "callers", "limits")


def simplified(raw: dict[Any, Any], kind: type[Section]) -> tuple[dict[Any, Any], frozenset[str], list[ConfigReason]]:
    """The content that is left for the types, the paths that the file sets, and reasons to refuse it."""
    reasons = _empty_reasons(raw)
    written = {key for key, value in raw.items() if isinstance(key, str) and value is not None}
    for section in OFF:
        if isinstance(raw.get(section), dict):
            written |= {f"{section}.{key}" for key, value in raw[section].items() if value is not None}
    return _without_empty(_without_words(raw), kind), frozenset(written), reasons


def _empty_reasons(raw: dict[Any, Any]) -> list[ConfigReason]:
    found = [
        ConfigReason(key, f"is empty: give it a value, or turn it off with `{OFF[key]}`")
        for key in NEVER_EMPTY
        if key in raw and raw[key] is None
    ]
    limits = raw.get("limits")
    if isinstance(limits, dict) and limits and all(value is None for value in limits.values()):
        found.append(ConfigReason("limits", f"sets no limit: set one, or turn limits off with `{OFF['limits']}`"))
    auth = raw.get("auth")
    if isinstance(auth, dict) and auth.get("methods") is None:
        found.append(ConfigReason("auth.methods", f"is missing: name the methods (`{OFF['auth']}` lets everyone in)"))
    for key in NEVER_EMPTY:
        value = raw.get(key)
        if value is not None and not isinstance(value, dict | list) and value != WORDS.get(key):
            found.append(ConfigReason(key, f"{value!r} is not allowed here; to turn it off write `{OFF[key]}`"))
    return found


def _without_words(raw: dict[Any, Any]) -> dict[Any, Any]:
    kept = {key: value for key, value in raw.items() if not (isinstance(value, str) and WORDS.get(key) == value)}
    tls = kept.get("tls")
    if isinstance(tls, dict) and tls.get("client_ca") == WORDS["tls.client_ca"]:
        kept["tls"] = {key: value for key, value in tls.items() if key != "client_ca"}
    return kept


def _without_empty(raw: dict[Any, Any], kind: type[Section]) -> dict[Any, Any]:
    """Without keys whose section or list is null, as when all of its lines are commented out."""
    known = _parts(kind)
    kept = {}
    for key, value in raw.items():
        parts = known.get(key, [])
        if value is None and any(map(is_container, parts)):
            continue
        kept[key] = _within(value, parts)
    return kept


@cache
def _parts(kind: type[Section]) -> dict[Any, list[Any]]:
    """The types that each key of a section takes. Cached, because thousands of models need it."""
    return {key: alternatives(hint) for key, hint in get_type_hints(kind, include_extras=True).items()}


def _within(value: Any, parts: list[Any]) -> Any:
    for part in parts:
        if isinstance(value, dict) and isinstance(part, type) and issubclass(part, Section):
            return _without_empty(value, part)
        if isinstance(value, dict) and get_origin(part) is dict:
            inner = alternatives(get_args(part)[1])
            return {name: _within(one, inner) for name, one in value.items()}
        if isinstance(value, list) and get_origin(part) is tuple:
            return [_within(one, alternatives(get_args(part)[0])) for one in value]
    return value


def alternatives(kind: Any) -> list[Any]:
    """The types of a union, without annotations."""
    if get_origin(kind) is Annotated:
        return alternatives(get_args(kind)[0])
    if get_origin(kind) in (Union, UnionType):
        return [part for one in get_args(kind) if one is not NoneType for part in alternatives(one)]
    return [kind]


def is_container(kind: Any) -> bool:
    """Whether values of a type hold other values: a section, a list, a mapping."""
    return get_origin(kind) in (dict, tuple) or (isinstance(kind, type) and issubclass(kind, Section))
