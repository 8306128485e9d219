"""The pages as Jekyll gets them: `docs/`, and beside it what its pages link to elsewhere in the repository.

There is no address yet at which the repository's files could be linked to. So a linked file comes along: a page of
Markdown gets a front matter, which keeps it out of the navigation; anything else lies there as it is.
"""

import re
import shutil
from pathlib import Path

CHECKOUT = Path(__file__).parents[2]
DOCS = CHECKOUT / "docs"
LINK = re.compile(r"(?<=\]\()(?![a-z]+:|#)([^)#\s]+)")


def stage(folder: Path) -> None:
    """Makes `folder` anew."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(DOCS, folder)
    waiting = sorted(DOCS.glob("*.md"))
    known = set(waiting)
    while waiting:
        page = waiting.pop()
        if page.suffix == ".md":
            _write(page, folder)
            linked = {file for file in _links(page) if not file.is_relative_to(DOCS)} - known
            known |= linked
            waiting += sorted(linked)
        else:
            shutil.copy2(page, folder / _name(page))


def _write(page: Path, folder: Path) -> None:
    text = LINK.sub(lambda found: _replaced(page, found[1]), page.read_text())
    if not page.is_relative_to(DOCS):
        title = re.search(r"^# (.+)$", text, re.MULTILINE)
        assert title, f"{page.name} has no heading"
        text = f"---\nlayout: docs\ntitle: {title[1]}\ndescription: {title[1]} of AI Gateway Ollama.\n---\n\n{text}"
    (folder / _name(page)).write_text(text)


def _links(page: Path) -> list[Path]:
    targets = [(page.parent / target).resolve() for target in LINK.findall(page.read_text())]
    return [target for target in targets if target.is_file()]


def _replaced(page: Path, target: str) -> str:
    """The link as it is in the site; one that leads nowhere stays, and the check names it."""
    file = (page.parent / target).resolve()
    return _name(file) if file.is_file() else target


def _name(file: Path) -> str:
    if file.is_relative_to(DOCS):
        return str(file.relative_to(DOCS))
    return "-".join(file.relative_to(CHECKOUT).parts)
