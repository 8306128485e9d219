"""What the Dockerfile promises before anything is built: no shell, no root, nothing that is not pinned."""

import json
import re
import tomllib

import pytest
from tools.image.making import DEFAULT_BASE, Wanted
from tools.image.sources import CHECKOUT, SOURCES
from tools.image.wheels import NOT_WANTED, PIP_LOCK, RUNTIME_LOCK, Target

TEXT = re.sub(r"\\\n\s*", "", (CHECKOUT / "Dockerfile").read_text())
LINES = [tuple(line.split(" ", 1)) for line in TEXT.splitlines() if line and not line.startswith("#")]
LAST_STAGE = LINES[[index for index, line in enumerate(LINES) if line[0] == "FROM"][-1] :]


def _all(word: str) -> list[str]:
    return [rest for first, rest in LINES if first == word]


def _last(word: str) -> str:
    return [rest for first, rest in LAST_STAGE if first == word][-1]


def test_every_stage_stands_on_the_base() -> None:
    assert LINES[0] == ("ARG", f"BASE={DEFAULT_BASE}")
    assert [stage.split(" ")[0] for stage in _all("FROM")] == ["${BASE}"] * 3
    assert ":latest" not in TEXT


@pytest.mark.parametrize("word", ["RUN", "ENTRYPOINT", "CMD"])
def test_no_shell_is_needed(word: str) -> None:
    assert _all(word)
    assert all(isinstance(json.loads(rest), list) for rest in _all(word))


def test_the_health_check_needs_no_shell_and_asks_the_admin_port() -> None:
    (check,) = _all("HEALTHCHECK")
    assert json.loads(check.partition(" CMD ")[2]) == ["python3", "/opt/ai-gateway/health.py"]
    assert "AI_GATEWAY_ADMIN" in (CHECKOUT / "image" / "health.py").read_text()


def test_it_runs_as_a_user_by_number_that_is_not_root() -> None:
    assert _last("USER") == "65532:65532"
    assert not any(
        first in ("COPY", "RUN", "ADD") for first, _ in LAST_STAGE[LAST_STAGE.index(("USER", "65532:65532")) :]
    )


def test_the_last_stage_runs_nothing_while_it_is_built() -> None:
    assert not any(first in ("RUN", "ADD") for first, _ in LAST_STAGE)


def test_installing_asks_no_index_and_trusts_hashes_alone() -> None:
    text = (CHECKOUT / "image" / "install.py").read_text()
    assert {"--no-index", "--require-hashes", "--no-deps"} <= set(re.findall(r'"(--[\w-]+)"', text))
    assert not re.search(r"apt-get|curl|wget|https?://", TEXT + text)


@pytest.mark.parametrize(
    "lock", [RUNTIME_LOCK, PIP_LOCK, RUNTIME_LOCK.with_name("sbom.txt")], ids=lambda lock: lock.name
)
def test_every_package_is_pinned_with_a_hash(lock: object) -> None:
    entries = re.split(r"\n(?=\S)", (RUNTIME_LOCK.parent / str(lock)).read_text().strip())
    assert all(re.match(r"[\w.-]+==\S+( ;.*)? \\\n +--hash=sha256:[0-9a-f]{64}", entry) for entry in entries)


def test_what_is_left_out_is_nothing_that_the_project_asks_for() -> None:
    asked = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]["dependencies"]
    assert {re.match(r"[\w-]+", line)[0] for line in asked} & NOT_WANTED == set()  # type: ignore[index]  # it matches


def test_labels_name_no_place_that_does_not_exist() -> None:
    labels = re.findall(r"org\.opencontainers\.image\.(\w+)=", _last("LABEL"))
    assert labels == ["title", "description", "licenses", "version", "revision"]
    assert "://" not in TEXT


def test_the_build_sees_only_what_it_copies() -> None:
    """The first stage copies all that passes: what wheels are made from, what makes them, and those that lie there."""
    lines = (CHECKOUT / ".dockerignore").read_text().split()
    copied = {words.split(" ")[0] for words in _all("COPY") if not words.startswith("--from")} - {"."}
    passing = {line[1:] for line in lines if line.startswith("!")}
    assert lines[0] == "*"
    assert {source.split("/")[0] for source in copied} <= passing
    tools = {"requirements", "image", "tools/building.py", "tools/image"}
    assert passing == {*SOURCES, *tools, "build/wheels", "build/sbom.cdx.json"}


@pytest.mark.parametrize(
    ("name", "reference"),
    [
        ("ai-gateway-ollama", "docker.io/library/ai-gateway-ollama:1"),
        ("team/gateway", "docker.io/team/gateway:1"),
        ("registry.example:5000/gateway", "registry.example:5000/gateway:1"),
    ],
)
def test_a_name_is_completed_as_containerd_does_it(name: str, reference: str) -> None:
    assert Wanted(name=name, tag="1").reference == reference


def test_wheels_are_those_that_the_bases_libc_can_load() -> None:
    assert Target("3.13", "x86_64", "glibc 2.36").platforms()[0] == "manylinux_2_36_x86_64"
    assert "manylinux2014_aarch64" in Target("3.13", "aarch64", "glibc 2.36").platforms()
    assert Target("3.12", "x86_64", "musl 1.2").platforms()[0] == "musllinux_1_2_x86_64"
