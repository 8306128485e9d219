"""msgspec's messages in the words of YAML."""

import pytest

from ai_gateway.config.plain_types import plain


@pytest.mark.parametrize(
    ("message", "words"),
    [
        ("Expected `object`, got `array`", "expected a mapping, got a list"),
        ("Expected `int | null`, got `str`", "expected a whole number, got text"),
        ("Expected `int` >= 1", "expected a whole number >= 1"),
        ("Expected `str | array`, got `null`", "expected text or a list, got nothing"),
        ("Expected `Seconds`, got `null`", "expected `Seconds`, got nothing"),
        ("Invalid enum value 'x'", "Invalid enum value 'x'"),
    ],
)
def test_types_have_the_names_that_an_author_of_yaml_knows(message: str, words: str) -> None:
    assert plain(message) == words
