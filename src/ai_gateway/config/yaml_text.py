"""YAML as this program reads it: plain values, without doubled keys, without aliases, and bounded in all that it costs.

libyaml tells what stands in the text, event by event; the values are built here, without recursion. Where PyYAML comes
without libyaml its own parser does the same, some thirty times slower: in a thread, and bounded in time.
"""

import time
from collections.abc import Callable, Hashable, Iterator
from typing import Any, Final

import yaml

from ai_gateway.config.beside import breathe

MAX_DEPTH: Final = 16
MAX_NODES: Final = 200_000  # keys, values, lists and mappings: 10,000 models of ten lines each are half of it
MAX_SECONDS: Final = 10.0  # of CPU; a file at the bound of nodes takes half a second
MAX_DIGITS: Final = 1000  # of a number: what is longer takes time in the square of its length, and cannot be printed
MAX_DIRECTIVES: Final = 10  # each is compared with all before it
EVENTS_AT_ONCE: Final = 256  # then other threads may go on: some 0.3 ms

_BREAKS: Final = "\r\n\x85\u2028\u2029"
_TAG: Final = "tag:yaml.org,2002:"
_COLLECTIONS: Final = (None, "!", _TAG + "map", _TAG + "seq")


class YamlError(ValueError):
    """The text is no YAML that is taken; says why, with words of the text."""


def read_yaml(content: bytes) -> Any:
    """The value in a file's bytes; None for an empty one. Raises YamlFault."""
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
    """What a scalar stands for, as PyYAML has it."""

    def __init__(self) -> None:
        yaml.constructor.SafeConstructor.__init__(self)
        yaml.resolver.Resolver.__init__(self)


class _Document:
    """One text on its way to a value. `_open` are the lists and mappings that enclose the place, outermost first."""

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
        """The value of the only document; None where there is none."""
        began = time.thread_time()
        nodes = 0
        for number, event in enumerate(self._events, 1):
            if isinstance(event, yaml.NodeEvent):
                nodes += 1
                if nodes > MAX_NODES:
                    raise YamlError(f"more than {MAX_NODES} keys and values")
            self._take(event)
            if number % EVENTS_AT_ONCE == 0:
                breathe()
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
            raise _reason("aliases are not accepted", event)
        elif isinstance(event, yaml.DocumentStartEvent):
            self._documents += 1
            if self._documents > 1:
                raise _reason("a second document begins", event)

    def _begin(self, event: yaml.CollectionStartEvent) -> None:
        if len(self._open) == MAX_DEPTH:
            raise YamlError(f"nested deeper than {MAX_DEPTH} levels at {_place(event)}")
        if event.tag not in _COLLECTIONS:
            raise _reason(f"the tag {event.tag} is not accepted", event)
        if self._open and self._open[-1].awaits_key:
            raise _reason("a key cannot be a list or a mapping", event)
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
            raise _reason("this cannot be a key", event) from None

    def _scalar(self, event: yaml.ScalarEvent) -> Any:
        value = event.value
        tag = event.tag
        if tag is None or tag == "!":
            tag = self._scalars.resolve(yaml.ScalarNode, value, event.implicit)  # type: ignore[no-untyped-call]  # the stubs lack it
        if tag == _TAG + "str":
            value.encode()  # half a surrogate pair is no text: nothing that tells of it could be written
            return value
        make = self._makers.get(tag)
        if tag == _TAG + "merge":
            raise _reason("merge keys (<<) are not accepted, since aliases are not", event)
        if make is None:
            raise _reason(f"the tag {tag} is not accepted", event)
        if len(value) > MAX_DIGITS:
            raise _reason(f"a number of more than {MAX_DIGITS} digits", event)
        try:
            return make(yaml.ScalarNode(tag, value))
        except (ValueError, TypeError, LookupError, AttributeError, ArithmeticError):
            # PyYAML lets these through: a date with a 13th month, a `!!int` that is none
            raise _reason(f"{value!r} is no {tag.removeprefix(_TAG)}", event) from None


class _List:
    """A list that is being read."""

    awaits_key = False

    def __init__(self) -> None:
        self.value: list[Any] = []

    def put(self, value: Any, event: yaml.Event) -> None:
        """The next element."""
        self.value.append(value)


class _Mapping:
    """A mapping that is being read: keys and values by turns."""

    def __init__(self) -> None:
        self.value: dict[Hashable, Any] = {}
        self.awaits_key = True
        self._key: Hashable = None
        self._seen: set[str] = set()  # as they are written: `1` and `"1"` would read as one

    def put(self, value: Any, event: yaml.Event) -> None:
        """A key, or the value of the last one."""
        if not self.awaits_key:
            self.value[self._key] = value
        else:
            assert isinstance(event, yaml.ScalarEvent)
            if event.value in self._seen or value in self.value:
                raise _reason(f"key {event.value!r} stands twice", event)
            self._seen.add(event.value)
            self._key = value
        self.awaits_key = not self.awaits_key


_Collection = _List | _Mapping


def _place(event: yaml.Event) -> str:
    mark = event.start_mark
    assert mark is not None, "every event has its place"
    return f"line {mark.line + 1}, column {mark.column + 1}"


def _reason(words: str, event: yaml.Event) -> YamlError:
    return YamlError(f"not valid YAML: {words} at {_place(event)}")
