"""Reads YAML as plain values: without duplicate keys, without aliases, and with bounds on all costs.

libyaml parses the text into events, and this module builds the values from them without recursion. If PyYAML comes
without libyaml, its own parser does the same about thirty times slower, in a thread and with a time limit.
"""

import time
from collections.abc import Callable, Hashable, Iterator
from typing import Any, Final

import yaml

from ai_gateway.config.threads import pause_for_others

MAX_DEPTH: Final = 16
MAX_NODES: Final = 200_000  # keys, values, lists and mappings: 10,000 models of ten lines each are half of it
MAX_SECONDS: Final = 10.0  # of CPU; a file at the bound of nodes takes half a second
MAX_DIGITS: Final = 1000  # of a number: longer ones take quadratic time, and Python cannot print them
MAX_DIRECTIVES: Final = 10  # PyYAML compares each with all before it
EVENTS_AT_ONCE: Final = 256  # then other threads may run: about 0.3 ms

_BREAKS: Final = "\r\n\x85\u2028\u2029"
_TAG: Final = "tag:yaml.org,2002:"
_COLLECTIONS: Final = (None, "!", _TAG + "map", _TAG + "seq")


class YamlError(ValueError):
    """The text is not valid YAML, or breaks a bound; says why, and may quote the text."""


def read_yaml(content: bytes) -> Any:
    """The value in a file's bytes; None for an empty one. Raises YamlError."""
    try:
        text = content.decode("utf-8-sig")
        if sum(text.count(f"{end}%") for end in _BREAKS) > MAX_DIRECTIVES:
            raise YamlError(f"more than {MAX_DIRECTIVES} lines begin with %, as directives do")
        return _Document(text).value()
    except YamlError:
        raise
    except (
        yaml.YAMLError,
        ValueError,
    ) as error:  # ValueError: half a surrogate pair, a character that there is none of
        words = " ".join(str(error).split()).replace(' in "<unicode string>",', " at")
        raise YamlError(f"not valid YAML: {words}") from None


class _Scalars(yaml.constructor.SafeConstructor, yaml.resolver.Resolver):
    """Turns scalars into values, as PyYAML does."""

    def __init__(self) -> None:
        yaml.constructor.SafeConstructor.__init__(self)
        yaml.resolver.Resolver.__init__(self)


class _Document:
    """Builds the value of one text. `_open` holds the lists and mappings around the current place, outermost first."""

    def __init__(self, text: str) -> None:
        self._events: Iterator[yaml.Event] = yaml.parse(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        self._scalars = _Scalars()
        self._makers: dict[str, Callable[[yaml.ScalarNode], Any]] = {
            _TAG + "null": self._scalars.construct_yaml_null,
            _TAG + "bool": self._scalars.construct_yaml_bool,
            _TAG + "int": self._scalars.construct_yaml_int,
            _TAG + "float": self._scalars.construct_yaml_float,
            _TAG + "timestamp": self._scalars.construct_yaml_timestamp,
        }
        self._open: list[_Collection] = []
        self._root: Any = None
        self._documents = 0

    def value(self) -> Any:
        """The value of the only document; None if there is none."""
        began = time.thread_time()
        nodes = 0
        for number, event in enumerate(self._events, 1):
            if isinstance(event, yaml.NodeEvent):
                nodes += 1
                if nodes > MAX_NODES:
                    raise YamlError(f"has more than {MAX_NODES} keys and values")
            self._take(event)
            if number % EVENTS_AT_ONCE == 0:
                pause_for_others()
                if time.thread_time() - began > MAX_SECONDS:
                    raise YamlError(f"takes more than {MAX_SECONDS:g} s of CPU to read")
        return self._root

    def _take(self, event: yaml.Event) -> None:
        if isinstance(event, yaml.ScalarEvent):
            self._put(self._scalar(event), event)
        elif isinstance(event, yaml.CollectionEndEvent):
            self._open.pop()
        elif isinstance(event, yaml.CollectionStartEvent):
            self._begin(event)
        elif isinstance(event, yaml.AliasEvent):
            raise _yaml_error("aliases are not accepted", event)
        elif isinstance(event, yaml.DocumentStartEvent):
            self._documents += 1
            if self._documents > 1:
                raise _yaml_error("a second document starts", event)

    def _begin(self, event: yaml.CollectionStartEvent) -> None:
        if len(self._open) == MAX_DEPTH:
            raise YamlError(f"nested deeper than {MAX_DEPTH} levels at {_place(event)}")
        if event.tag not in _COLLECTIONS:
            raise _yaml_error(f"the tag {event.tag} is not accepted", event)
        if self._open and self._open[-1].awaits_key:
            raise _yaml_error("a key cannot be a list or a mapping", event)
        made = _Mapping() if isinstance(event, yaml.MappingStartEvent) else _List()
        self._put(made.value, event)
        self._open.append(made)

    def _put(self, value: Any, event: yaml.Event) -> None:
        if not self._open:
            self._root = value
            return
        try:
            self._open[-1].put(value, event)
        except TypeError:
            raise _yaml_error("this cannot be a key", event) from None

    def _scalar(self, event: yaml.ScalarEvent) -> Any:
        value = event.value
        tag = event.tag
        if tag is None or tag == "!":
            tag = self._scalars.resolve(yaml.ScalarNode, value, event.implicit)  # type: ignore[no-untyped-call]  # the stubs lack it
        if tag == _TAG + "str":
            value.encode()  # raises for half a surrogate pair: no log could write it
            return value
        make = self._makers.get(tag)
        if tag == _TAG + "merge":
            raise _yaml_error("merge keys (<<) are not accepted", event)
        if make is None:
            raise _yaml_error(f"the tag {tag} is not accepted", event)
        if len(value) > MAX_DIGITS:
            raise _yaml_error(f"a number has more than {MAX_DIGITS} digits", event)
        try:
            return make(yaml.ScalarNode(tag, value))
        except (ValueError, TypeError, LookupError, AttributeError, ArithmeticError):
            # PyYAML raises these for a date with a 13th month, or an `!!int` without digits
            raise _yaml_error(f"{value!r} is not a valid {tag.removeprefix(_TAG)}", event) from None


class _List:
    """A list under construction."""

    awaits_key = False

    def __init__(self) -> None:
        self.value: list[Any] = []

    def put(self, value: Any, event: yaml.Event) -> None:
        """The next element."""
        self.value.append(value)


class _Mapping:
    """A mapping under construction: it gets keys and values in turn."""

    def __init__(self) -> None:
        self.value: dict[Hashable, Any] = {}
        self.awaits_key = True
        self._key: Hashable = None
        self._seen: set[str] = set()  # as written in the file, so that `1` and `"1"` count as duplicates

    def put(self, value: Any, event: yaml.Event) -> None:
        """A key, or the value of the last one."""
        if not self.awaits_key:
            self.value[self._key] = value
        else:
            assert isinstance(event, yaml.ScalarEvent)
            if event.value in self._seen or value in self.value:
                raise _yaml_error(f"duplicate key {event.value!r}", event)
            self._seen.add(event.value)
            self._key = value
        self.awaits_key = not self.awaits_key


_Collection = _List | _Mapping


def _place(event: yaml.Event) -> str:
    mark = event.start_mark
    assert mark is not None, "every event has a place"
    return f"line {mark.line + 1}, column {mark.column + 1}"


def _yaml_error(words: str, event: yaml.Event) -> YamlError:
    return YamlError(f"not valid YAML: {words} at {_place(event)}")
