"""What every page owes its readers: a front matter, links that lead somewhere, and Python that runs."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from tests.docs.pages import PAGES, blocks
from tests.docs.program import COMMAND, ROOT

DOCS = [page for page in PAGES if page.parent.name == "docs"]
TEXTS = [*PAGES, ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"]


def _front_matter(page: Path) -> dict[str, object]:
    head = re.match(r"---\n(.*?)\n---\n", page.read_text(), re.DOTALL)
    assert head, f"{page.name} has no front matter"
    return dict(yaml.safe_load(head[1]))


@pytest.mark.parametrize("page", DOCS, ids=lambda page: page.name)
def test_a_page_has_jekylls_front_matter(page: Path) -> None:
    front = _front_matter(page)
    assert list(front) == ["layout", "title", "description", "nav_order"]
    assert front["layout"] == "docs"


def test_no_two_pages_stand_at_the_same_place_of_the_navigation() -> None:
    assert sorted(int(str(_front_matter(page)["nav_order"])) for page in DOCS) == [*range(1, len(DOCS) + 1)]


@pytest.mark.parametrize("page", TEXTS, ids=lambda page: page.name)
def test_a_link_leads_to_a_file_and_a_heading_that_exist(page: Path) -> None:
    for target, anchor in re.findall(r"\]\(([^)#:\s]*)(?:#([^)\s]+))?\)", page.read_text()):
        linked = page.parent / target if target else page
        assert linked.is_file(), f"{page.name}: {target}"
        assert not anchor or anchor in _anchors(linked), f"{page.name}: {target}#{anchor}"


def _anchors(page: Path) -> set[str]:
    titles = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("command", ["serve", "simulate", "check", "drain", "keys create", "keys list"])
def test_every_flag_of_the_command_stands_in_the_docs(command: str) -> None:
    shown = subprocess.run([COMMAND, *command.split(), "--help"], capture_output=True, text=True, check=True).stdout
    text = "".join(page.read_text() for page in DOCS)
    assert {flag for flag in re.findall(r"^  (--[\w-]+)", shown, re.MULTILINE) if flag not in text} == set()


def test_the_readmes_python_runs_as_printed(gateway: tuple[str, str]) -> None:
    (example,) = (block for block in blocks(ROOT / "README.md") if block.language == "python")
    program = example.text.replace("localhost:8080", gateway[0])
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()
