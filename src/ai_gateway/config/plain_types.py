"""msgspec's messages in the words of YAML: ``Expected `object`, got `array` `` is "expected a mapping, got a list"."""

import re
from typing import Final

_TYPES: Final = re.compile(r"`([\w |]+)`")
_WORDS: Final = {
    "object": "a mapping",
    "array": "a list",
    "str": "text",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "date": "a date",
    "datetime": "a time",
    "null": "nothing",
    "NoneType": "nothing",
}


def plain(message: str) -> str:
    """A message that begins with "Expected", in plain words; any other as it is."""
    if not message.startswith("Expected "):
        return message
    return "e" + _TYPES.sub(_in_words, message)[1:]


def _in_words(found: "re.Match[str]") -> str:
    kinds = found[1].split(" | ")
    named = [kind for kind in kinds if kind != "null"] or kinds  # null is no key: that it may be, too, helps nobody
    return " or ".join(_WORDS.get(kind, f"`{kind}`") for kind in named)
