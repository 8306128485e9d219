"""The pages of the docs, and what stands in their code blocks."""

import re
from pathlib import Path
from typing import NamedTuple

from tests.docs.program import ROOT

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]

_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_SHOWN = ("json", "text", "http")


class Block(NamedTuple):
    """A fenced block: its language, what stands in it, and where it begins and ends in the page."""

    language: str
    text: str
    begin: int
    end: int


class Example(NamedTuple):
    """A curl command of a page, and the block that shows its answer, if one follows at once."""

    page: str
    number: int
    command: str
    shown: Block | None

    def __str__(self) -> str:
        return f"{self.page}-{self.number}"


def blocks(page: Path) -> list[Block]:
    """All fenced blocks of a page, in order."""
    found = _BLOCK.finditer(page.read_text())
    return [Block(match[1], match[2], match.start(), match.end()) for match in found]


def examples(page: Path) -> list[Example]:
    """Every curl command in the page's `bash` and `console` blocks."""
    found: list[Example] = []
    text, all_blocks = page.read_text(), blocks(page)
    for block, after in zip(all_blocks, [*all_blocks[1:], None], strict=False):
        if block.language not in ("bash", "console"):
            continue
        commands = _curl_commands(block.text)
        is_answered = after and after.language in _SHOWN and not text[block.end : after.begin].strip()
        for command in commands:
            shown = after if is_answered and command is commands[-1] else None
            found.append(Example(page.relative_to(ROOT).as_posix(), len(found) + 1, command, shown))
    return found


def _curl_commands(text: str) -> list[str]:
    """Commands that begin a line with curl, with the lines that continue them: behind a backslash or in quotes."""
    commands: list[str] = []
    is_open = False
    for line in text.replace("\n$ ", "\n").removeprefix("$ ").splitlines():
        if is_open:
            commands[-1] += "\n" + line
        elif line.startswith("curl "):
            commands.append(line)
        else:
            continue
        is_open = commands[-1].endswith("\\") or commands[-1].count("'") % 2 == 1
    return commands
