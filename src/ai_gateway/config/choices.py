"""The words that a key of the config may have, for the message about another word."""

import re
from typing import Any, Final

from msgspec import inspect

_STEP: Final = re.compile(r"\[[^\]]*\]|[^.\[\]]+")


def choices(kind: Any, path: str) -> tuple[str, ...]:
    """The words that `kind` allows at msgspec's `path` below it, such as `.methods[0]`; none if it is no such key."""
    found: Any = _bare(inspect.type_info(kind))
    for step in _STEP.findall(path):
        found = _bare(_below(found, step))
    if isinstance(found, inspect.DictType):  # a key of it is wrong
        found = _bare(found.key_type)
    return tuple(str(value) for value in found.values) if isinstance(found, inspect.LiteralType) else ()


def _below(found: Any, step: str) -> Any:
    if isinstance(found, inspect.StructType):
        return next((field.type for field in found.fields if field.encode_name == step), None)
    if isinstance(found, inspect.DictType):
        return found.value_type
    return getattr(found, "item_type", None)


def _bare(found: Any) -> Any:
    """A type without its remarks, and without the null that it may also be."""
    if isinstance(found, inspect.Metadata):
        return _bare(found.type)
    if isinstance(found, inspect.UnionType):
        return next((_bare(one) for one in found.types if not isinstance(one, inspect.NoneType)), None)
    return found
