"""`config.content` is read to its end, and nothing in it is hidden from the gateway where it is written anew."""

from typing import Any

import pytest
from tests.helm.running import HELMS, kind, refusal, rendered

from ai_gateway.config.loading import parse

pytestmark = pytest.mark.cluster

Values = dict[str, Any]


def _text(content: str, values: Values) -> str:
    objects = rendered("helm4", values={"config": {"content": content}, **values})
    (config_map,) = (one for one in kind(objects, "ConfigMap") if one["metadata"]["name"].endswith("-models"))
    return str(config_map["data"]["config.yml"])


@pytest.mark.parametrize(
    "content",
    [
        "{models: {a: {}}}\nauth: {methods: [kubernetes]}\n",
        "{models: {a: {}}}\n{auth: {methods: [kubernetes]}}\n",
        "--- {models: {a: {}}}\nauth: {methods: [kubernetes]}\n",
        "  models: {a: {}}\nauth: {methods: [kubernetes]}\n",
        "    models:\n      a: {}\n  auth: {methods: [kubernetes]}\n",
    ],
)
@pytest.mark.parametrize("helm", HELMS)
def test_what_follows_the_end_of_its_sections_is_not_dropped_but_refused(content: str, helm: str) -> None:
    """Helm's own reader of YAML stops there without a word."""
    assert "something follows the end of its sections" in refusal(helm, {"config": {"content": content}})


@pytest.mark.parametrize(
    ("content", "values", "key"),
    [
        ("{auth: {methods: [kubernetes]}, auth: {methods: [none]}}", {}, "auth"),
        ("{auth: {methods: [kubernetes], methods: [none]}}", {}, "methods"),
        ('{"callers": [], "callers": "all", "models": {"a": {}}}', {}, "callers"),
        ("--- {callers: [], callers: all}", {}, "callers"),
        ("  callers: []\n  callers: all\n", {}, "callers"),
        ("models: {a: &a {}, b: *a}\nauth: {methods: [kubernetes], methods: [none]}\n", {}, "methods"),
        (
            "limits: {redis: {url: 'rediss://a'}, default: {rpm: 5}, default: {rpm: 999}}\n",
            {"limits": {"redis": {"existingSecret": "ours"}}},
            "default",
        ),
    ],
)
@pytest.mark.parametrize("helm", HELMS)
def test_a_doubled_key_is_not_hidden_where_the_text_is_written_anew(
    content: str, values: Values, key: str, helm: str
) -> None:
    assert f'key "{key}" stands twice' in refusal(helm, {"config": {"content": content}, **values})


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_section_that_a_comment_interrupts_is_written_anew_as_a_whole(end: str) -> None:
    lines = ["discovery:", "", "  kubernetes: # ours", "# limits: none", "", "    port: 11435", "# after", "queue:"]
    text = _text(end.join([*lines, "  max_waiting: 1", ""]), {"discovery": {"labelSelector": "app=ours"}})
    found = parse(text.encode()).discovery
    assert found is not None
    assert found.kubernetes is not None
    assert (found.kubernetes.port, found.kubernetes.label_selector) == (11435, "app=ours")
    assert "# after" in text


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("limits: {redis: x}", "limits.redis: is no section"),
        ("auth: {methods: [oidc], oidc: x}", "auth.oidc: is no section"),
        ("callers: [{}, x]", "callers[1]: is no section"),
        ("models: {a: {ollama: 5}}", "models.a.ollama: 5 is no text"),
    ],
)
@pytest.mark.parametrize("helm", HELMS)
def test_what_the_chart_reads_in_it_is_named_where_it_is_something_else(content: str, said: str, helm: str) -> None:
    values: Values = {"networkPolicy": {"enabled": True}, "ollama": {"enabled": True}}
    assert f"config.content: {said}" in refusal(helm, {"config": {"content": content}, **values})
