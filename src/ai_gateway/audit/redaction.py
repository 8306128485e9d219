"""What is taken out of prompts and answers before they are kept.

Texts are redacted as their writers meant them: what is encoded as JSON is decoded first, JSON within its texts too. Of
a text that is cut, OVERLAP more is searched than is kept, so that what the cut would halve is found whole.

Patterns of a config may take time in the square of a text, as `\\w+\\d` does on a long word, and Python's `re` lets
no other thread run meanwhile. So a long text is tried place by place, with a rest between, and within a bound; what is
not searched by then is not kept.
"""

import base64
import re
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, NamedTuple

import msgspec

from ai_gateway.config.threads import pause_for_others
from ai_gateway.wire.unreadable import UNREADABLE

CUT: Final = "…"
OVERLAP: Final = 1024  # characters past the size: more than the usual patterns need to know what they see
MOST_DEEP: Final = 100  # lists and objects in one another; what is deeper is left out
MOST_OF_KEY: Final = 64  # characters of an object's key
MOST_SECONDS: Final = 1.0  # of CPU for the config's patterns on one content
SHORT: Final = 512  # characters that are searched in one go: a millisecond, where time grows with their square
REACH: Final = 16384  # characters that one match may have
PLACES: Final = 16  # that are tried between two readings of the clock
REST_SECONDS: Final = 0.0005  # of work, then others may go on
TOO_SLOW: Final = "[too slow to redact]"

# Where a word begins. In JSON within a text that was cut, and cannot be decoded, an escape may stand before it.
_START: Final = r"(?:(?<![A-Za-z0-9])|(?<=\\[bfnrt])|(?<=\\u[0-9A-Fa-f]{4}))"
_GAP: Final = "[ \u00a0\u2010\u2011\\-]"
_CARD: Final = rf"{_START}(?<!\d{_GAP})(?=(\d(?:{_GAP}?\d){{12,18}})(?![A-Za-z0-9]))"
# In its usual groups a card is found beside other numbers, too.
_USUAL_CARD: Final = rf"\d{{13,19}}|\d{{4}}(?:(?:{_GAP}\d{{4}}){{3}}|{_GAP}\d{{6}}{_GAP}\d{{5}})"
_GROUPS: Final = rf"{_START}(?=({_USUAL_CARD})(?![A-Za-z0-9]))"
_BASIC: Final = re.compile(r"(?i:basic)\s{1,9}([A-Za-z0-9+/]{4,})={0,2}")
_CARDS: Final = (re.compile(_CARD), re.compile(_GROUPS))
# No pattern reads a text more than a few hundred times over, whatever it is.
_USUAL: Final = tuple(
    (name, re.compile(pattern))
    for name, pattern in (
        ("[email]", r"(?<![\w.%+\-])[\w.%+\-]+@[\w.\-]{1,253}\.[^\W\d_]{2,24}"),
        ("[key]", r"(?i:bearer)\s{1,9}[A-Za-z0-9_\-.~+/]{16,}=*"),
        ("[key]", _START + r"(?:sk|pk|gw|gh[oprsu]|github_pat|glpat|hf|xox[abeoprs])[_\-][A-Za-z0-9_\-.]{16,}"),
        ("[key]", _START + r"(?:A[KS]IA[A-Z0-9]{16,}|eyJ[A-Za-z0-9_\-.]{20,})"),
        ("[password]", r"(?<=://)[^\s/?#:@]{0,256}:[^\s/?#]{1,256}(?=@)"),
        ("[phone]", rf"(?<!\.){_START}\+\d(?:[ ()\u00a0\-]{{0,2}}\d){{6,14}}(?!\d)"),
    )
)

_decode = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder().encode

Redact = Callable[[str], str]
Patterns = Sequence[re.Pattern[str]]


class _Found(NamedTuple):
    """A stretch of a text, and what is kept instead."""

    start: int
    end: int
    name: str


def redaction(patterns: Sequence[str], max_bytes: int) -> Redact:
    """Replaces what the usual patterns and these match in each text of a JSON value, and cuts all to a size in UTF-8.

    What is no JSON is one text. JSON stays JSON: what goes beyond the size is cut within its texts.
    """
    own = tuple(re.compile(pattern) for pattern in patterns)

    def redact(content: str) -> str:
        keeping = _Keeping(_Own(own), max_bytes)
        value = _container(content)
        return keeping.text(content) if value is None else _encode(keeping.value(value)).decode()

    return redact


class _Own:
    """The patterns of the config, and the CPU that they have left for one content."""

    def __init__(self, patterns: Patterns) -> None:
        self._patterns = patterns
        self._left = MOST_SECONDS

    def check(self, text: str) -> Iterator[_Found]:
        """What they match in a text; its rest where they take too long."""
        for pattern in self._patterns:
            if self._left <= 0:
                yield _Found(0, len(text), TOO_SLOW)
                return
            began = time.thread_time()
            if len(text) <= SHORT:
                yield from (_Found(*match.span(), "[redacted]") for match in pattern.finditer(text) if match[0])
                self._left -= time.thread_time() - began
            else:
                yield from self._by_places(pattern, text, began)

    def _by_places(self, pattern: re.Pattern[str], text: str, rested: float) -> Iterator[_Found]:
        place, tried, match_at = 0, 0, pattern.match
        while place < len(text):
            match = match_at(text, place, place + REACH)
            if match is None or not match[0]:
                place += 1
            else:
                yield _Found(*match.span(), "[redacted]")
                place = match.end()
            tried += 1
            if tried % PLACES == 0 and (spent := time.thread_time() - rested) > REST_SECONDS:
                self._left -= spent
                if self._left <= 0:
                    yield _Found(place, len(text), TOO_SLOW)
                    return
                pause_for_others()
                rested = time.thread_time()
        self._left -= time.thread_time() - rested


class _Keeping:
    """One content on its way through redaction. `left`, of its size, shrinks with each text."""

    def __init__(self, own: "_Own", left: int) -> None:
        self._own = own
        self.left = left

    def value(self, value: Any, depth: int = 0) -> Any:
        """The same value, its texts redacted; lists and objects end where nothing is left."""
        if isinstance(value, str):
            return self.text(value)
        if not isinstance(value, list | dict):
            digits = str(value)  # a number may be a card's
            kept = self.text(digits)
            return value if kept == digits else kept
        if depth == MOST_DEEP:
            return CUT
        self.left -= 2
        if isinstance(value, list):
            return [self.value(one, depth + 1) for one in value if self.left > 0]
        return {self._key(key): self.value(one, depth + 1) for key, one in value.items() if self.left > 0}

    def text(self, text: str) -> str:
        """A text, redacted and cut to what is left."""
        kept = self._redacted(text, max(0, self.left))
        while (size := len(_encode(kept)) - 2) > max(self.left, len(CUT.encode())):
            kept = _cut(kept, len(kept.encode()) * max(0, self.left) // size)
        # Not less than was read: capturing counted the content's characters, and stopped OVERLAP behind the size.
        self.left -= max(len(text), size + 3)
        return kept

    def _key(self, key: str) -> str:
        kept = self._redacted(key, MOST_OF_KEY)
        self.left -= len(_encode(kept)) + 1
        return kept

    def _redacted(self, text: str, most: int) -> str:
        """At most so many characters of it, what is found among them replaced."""
        text = self._within(text[: most + OVERLAP])
        kept, end = [], 0
        for found in sorted(_check(text, self._own)):
            if found.start >= most:
                break
            if found.start >= end:  # what overlaps is one stretch, with the name of the first
                kept += [text[end : found.start], found.name]
            end = max(end, found.end)
        if len(text) <= most:
            return "".join((*kept, text[end:]))
        return "".join((*kept, text[end:most], CUT))

    def _within(self, text: str) -> str:
        """Redacts JSON in a text, as the arguments of a tool call are; only escapes hide anything there."""
        value = _container(text) if "\\" in text else None
        if value is None:
            return text
        kept = _Keeping(self._own, 8 * len(text)).value(value)
        return text if kept == value else _encode(kept).decode()


def _container(text: str) -> Any:
    """The list or object that a text is the JSON of, else None."""
    if not text.lstrip().startswith(("[", "{")):
        return None
    try:
        return _decode(text)
    except UNREADABLE:
        return None


def _check(text: str, own: _Own) -> Iterator[_Found]:
    yield from own.check(text)
    for expression in _CARDS:
        yield from (_Found(*match.span(1), "[card]") for match in expression.finditer(text) if _is_card(match[1]))
    yield from (_Found(*match.span(), "[key]") for match in _BASIC.finditer(text) if _is_basic(match[1]))
    for name, expression in _USUAL:
        yield from (_Found(*match.span(), name) for match in expression.finditer(text))


def _cut(text: str, max_bytes: int) -> str:
    return text.encode()[: max(0, max_bytes - len(CUT.encode()))].decode(errors="ignore") + CUT


def _is_card(text: str) -> bool:
    """Only what passes the check of card numbers (Luhn, ISO/IEC 7812-1): other long numbers stay."""
    digits = [int(character) for character in text if character.isdigit()]
    doubled = [digit if place % 2 == 0 else digit * 2 - 9 * (digit > 4) for place, digit in enumerate(reversed(digits))]
    return sum(doubled) % 10 == 0


def _is_basic(text: str) -> bool:
    """Whether it is a name and a password (RFC 7617), and no word behind the word basic."""
    whole = text[: len(text) - (len(text) % 4 == 1)]
    return b":" in base64.b64decode(whole + "=" * (-len(whole) % 4))
