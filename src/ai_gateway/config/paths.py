"""Paths as people write them, in config.yml and behind flags."""

import os


def expanded(text: str) -> str:
    """A path with the home of a user in place of a `~` at its beginning, as a shell has it. Raises ValueError."""
    if not text or "\0" in text:
        raise ValueError(f"{text!r} is no path of a file")
    if not text.startswith("~"):
        return text
    found = os.path.expanduser(text)
    if not found.startswith("/") or (text[1:2] in ("", "/") and os.environ.get("HOME") == ""):
        raise ValueError(f"{text!r}: nobody knows whose home that is here; write the path from `/` on")
    return found
