"""What is taken out of prompts and answers before they are kept."""

import re
from collections.abc import Callable, Sequence
from typing import Final

CUT: Final = "…"
# The usual ones: e-mail addresses, what looks like a key or token, card numbers (checked), phone numbers.
_EMAIL: Final = r"[A-Za-z0-9._%+\-]{1,64}@[A-Za-z0-9.\-]{1,253}\.[A-Za-z]{2,24}"
_KEY: Final = (
    r"(?:Bearer\s+|\b(?:sk|pk|gw|ghp|xox[bp]|AKIA)[_\-]?)[A-Za-z0-9_\-.]{16,512}|\beyJ[A-Za-z0-9_\-.]{20,4096}"
)
_CARD: Final = r"\b\d(?:[ \-]?\d){12,18}\b"
_PHONE: Final = r"(?<![\w.])\+\d(?:[ ()\-]{0,2}\d){6,14}\b"

Redact = Callable[[str], str]


def redaction(patterns: Sequence[str], max_bytes: int) -> Redact:
    """Replaces what the usual patterns and these match, then cuts to a size in UTF-8."""
    usual = (("email", re.compile(_EMAIL)), ("key", re.compile(_KEY)), ("phone", re.compile(_PHONE)))
    own = [re.compile(pattern) for pattern in patterns]
    card = re.compile(_CARD)

    def redact(text: str) -> str:
        text = text[: max_bytes * 2]  # nothing behind it can be kept; what is matched becomes shorter at most by half
        for expression in own:
            text = expression.sub("[redacted]", text)
        text = card.sub(_hidden_card, text)
        for name, expression in usual:
            text = expression.sub(f"[{name}]", text)
        return _cut(text, max_bytes)

    return redact


def _cut(text: str, max_bytes: int) -> str:
    content = text.encode()
    if len(content) <= max_bytes:
        return text
    return content[: max_bytes - len(CUT.encode())].decode(errors="ignore") + CUT


def _hidden_card(found: re.Match[str]) -> str:
    """Only what passes the check of card numbers (Luhn, ISO/IEC 7812-1): other long numbers stay."""
    digits = [int(character) for character in found[0] if character.isdigit()]
    doubled = [digit if place % 2 == 0 else digit * 2 - 9 * (digit > 4) for place, digit in enumerate(reversed(digits))]
    return "[card]" if sum(doubled) % 10 == 0 else found[0]
