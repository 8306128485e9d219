"""YAML as this program reads it: safe, without doubled keys, without aliases, not deeper than sense has."""

from typing import Any, Final

import yaml

MAX_DEPTH: Final = 16


class YamlFault(ValueError):
    """The text is no YAML that is taken; says why, with words of the text."""


def read_yaml(content: bytes) -> Any:
    """The value in a file's bytes; None for an empty one. Raises YamlFault."""
    try:
        text = content.decode()
        _refuse_depth(text)
        return yaml.load(text, _Loader)  # noqa: S506 - _Loader is a SafeLoader
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise YamlFault("not valid YAML: " + " ".join(str(error).split())) from None
    except (ValueError, TypeError, LookupError, AttributeError, ArithmeticError) as error:
        if isinstance(error, YamlFault):
            raise
        # PyYAML lets these through: a date with a 13th month, a list for a key, a `!!int` that is none, 1:00:00:...
        raise YamlFault(f"not valid YAML: {error}") from None


class _Loader(yaml.SafeLoader):
    """Safe YAML without duplicate keys and without aliases (a page of them can stand for gigabytes)."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]  # the stubs lack it
            raise yaml.composer.ComposerError(None, None, "aliases are not accepted", mark)
        return super().compose_node(parent, index)

    def construct_scalar(self, node: yaml.ScalarNode | yaml.MappingNode) -> Any:
        """Half a surrogate pair is no text: nothing that tells of it, as JSON or in a log, could be written."""
        value = super().construct_scalar(node)
        if isinstance(value, str):
            value.encode()
        return value

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key_node, _ in node.value:
            if key_node.value in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"key {key_node.value!r} stands twice", key_node.start_mark
                )
            seen.add(key_node.value)
        return super().construct_mapping(node, deep)


def _refuse_depth(text: str) -> None:
    """PyYAML recurses once per level: nonsense that is deeply nested is stopped before it is built."""
    depth = 0
    for event in yaml.parse(text, yaml.SafeLoader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > MAX_DEPTH:
                raise YamlFault(f"nested deeper than {MAX_DEPTH} levels")
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
