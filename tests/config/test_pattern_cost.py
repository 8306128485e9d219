"""A pattern that one prompt can stop the gateway with is refused; ordinary ones are not."""

import json
import re
import time

import pytest

from ai_gateway.config.loading import ConfigError, parse
from ai_gateway.config.pattern_cost import endless


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
    (complaint,) = refused.value.complaints
    assert complaint.path == "audit.redact[0]"
    assert "takes time without bound" in complaint.message
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
