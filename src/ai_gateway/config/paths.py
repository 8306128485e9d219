"""Paths as people write them in config.yml and in flags."""

import os


def expanded(text: str) -> str:
    """Replaces a leading `~` with the home folder, as a shell does. Raises ValueError."""
    if not text or "\0" in text:
        raise ValueError(f"{text!r} is not a file path")
    if not text.startswith("~"):
        return text
    found = os.path.expanduser(text)
    if not found.startswith("/") or (text[1:2] in ("", "/") and os.environ.get("HOME") == ""):
        raise ValueError(f"{text!r}: the gateway cannot find this home folder; write the whole path, starting with `/`")
    return found
