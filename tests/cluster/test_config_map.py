"""How a ConfigMap is named on the command line; what is in it is tested with a whole gateway and a real API server."""

import pytest

from ai_gateway.cluster.config_map import Named, parse_named


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("models", Named("models")),
        ("ai/models", Named("models", "ai")),
        ("ai/models:gateway.yml", Named("models", "ai", "gateway.yml")),
        ("models:a", Named("models", None, "a")),
    ],
)
def test_a_name_may_have_a_namespace_and_a_key(text: str, named: Named) -> None:
    assert parse_named(text) == named


@pytest.mark.parametrize("text", ["", "/", "ai/", "a/b/c", "models:", "two words", ":key"])
def test_what_is_no_name_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not"):
        parse_named(text)


def test_people_are_told_all_three() -> None:
    assert str(Named("models", "ai")) == "ConfigMap ai/models, key config.yml"
