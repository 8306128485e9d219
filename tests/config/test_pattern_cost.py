"""A pattern that one prompt can stop the gateway with is refused; ordinary ones are not."""

import json
import re
import time
from pathlib import Path

import pytest

from ai_gateway.__main__ import main
from ai_gateway.config.loading import ConfigError, parse
from ai_gateway.config.pattern_cost import endless, slow


@pytest.mark.parametrize(
    "pattern",
    [
        r"(a+)+$", r"^(\w+\s?)*$", r"(x+x+)+y", r"([a-zA-Z]+)*@", r"(.*a){20}", r"(a|aa)+$", r"(a|a)*b", r"(\d+)*-x",
        r"^(([a-z])+.)+[A-Z]([a-z])+$", r"(?:,*,*)*;", r"(z|z)+q", r"(.*,)*(.*,)*(.*,)*(.*,)*x",
    ],
)  # fmt: skip
def test_a_pattern_without_bound_is_refused(pattern: str) -> None:
    began = time.thread_time()
    with pytest.raises(ConfigError) as refused:
        parse(f"audit: {{redact: [{json.dumps(pattern)}]}}".encode())
    (reason,) = refused.value.reasons
    assert reason.path == "audit.redact[0]"
    assert "takes unlimited time" in reason.message
    assert time.thread_time() - began < 3


@pytest.mark.parametrize(
    "pattern",
    [
        r"[\w.+-]+@corp\.example", r"\b\d{3}-\d{2}-\d{4}\b", r"(?i)password\s*[:=]\s*\S+", r"(\d{1,3}\.){3}\d{1,3}",
        r"(?:[0-9a-f]{2}:){5}[0-9a-f]{2}", r"EMP-\d+", r"(\w+-)+\d", r"\w+\d", r"[A-Z]{2}\d{2}(?: ?\w{4}){3,7}",
        r"-----BEGIN [A-Z ]+-----.*?-----END [A-Z ]+-----", r"(?:a|b|c)+d", r".*secret.*", r"^\s*(?:#.*)?$", "",
        r"https?://\S+", r"(?<=key=)[^&\s]+", r"([A-Z][a-z]+ )+street", r"(foo|bar)*baz", "(a)" * 500,
    ],
)  # fmt: skip
def test_ordinary_patterns_are_none_of_them(pattern: str) -> None:
    assert endless(re.compile(pattern)) is None


@pytest.mark.parametrize("pattern", [r"\w+\d", r"\S+@\S+", r".*secret", r"[a-z ]+!"])
def test_a_pattern_that_is_slow_on_long_texts_is_known(pattern: str) -> None:
    assert (slow(re.compile(pattern), 65536) or 0) > 0.5


@pytest.mark.parametrize("pattern", [r"EMP-\d+", r"\b\d{3}-\d{2}-\d{4}\b", r"(?i)password\s*[:=]\s*\S+", r"\w{1,64}\d"])
def test_others_are_not(pattern: str) -> None:
    assert slow(re.compile(pattern), 65536) is None


@pytest.mark.parametrize(("level", "warned"), [("metadata", 0), ("request", 1)])
def test_check_names_it_with_the_time(
    level: str, warned: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where content is kept at all; it is no fault."""
    path = tmp_path / "config.yml"
    path.write_text(f"audit: {{level: {level}, redact: ['EMP-\\d+', '\\w+\\d']}}")
    assert main(["check", str(path)]) == 0
    found = re.findall(
        r"warning: audit\.redact\[1\]: .* may take [\d.]+ s of CPU for 65536 characters", capsys.readouterr().err
    )
    assert len(found) == warned
