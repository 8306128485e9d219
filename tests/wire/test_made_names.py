"""Made names are Ollama's, never collide, and stay the same in all later versions."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ai_gateway.wire.made_names import Made, digest_part, is_of, key_of, read_made, spec_hash
from ai_gateway.wire.names import is_model_name, ollama_name

SPECS: list[tuple[str, dict[str, Any], str | None, str]] = [
    ("llama3:latest", {}, None, "8dcd2a65b6"),
    (
        "codellama:13b",
        {"num_ctx": 8192, "temperature": 0.2, "stop": ["</s>"]},
        "You answer with code.",
        "21520196e9",
    ),
    ("codellama:13b", {"temperature": 1}, None, "e967cc5a40"),
    ("registry.example:5000/team/model:v2", {}, "Grüße", "910c82471a"),
]


@pytest.mark.parametrize(("tag", "parameters", "system", "found"), SPECS)
def test_a_hash_is_the_same_for_ever(tag: str, parameters: dict[str, Any], system: str | None, found: str) -> None:
    """Another one would make every model anew, with each upgrade of the gateway."""
    assert spec_hash(tag, parameters, system) == found
    assert spec_hash(tag, dict(reversed(parameters.items())), system) == found


def test_what_is_not_set_and_how_a_number_is_written_do_not_matter() -> None:
    assert spec_hash("a:b", {}, None) == spec_hash("a:b", {}, "")
    assert spec_hash("a:b", {"temperature": 1.0}, None) == spec_hash("a:b", {"temperature": 1}, None)
    assert spec_hash("a:b", {"temperature": 1}, None) != spec_hash("a:b", {"temperature": 1.5}, None)


@given(owner=st.text(min_size=1, max_size=128), model_id=st.text(min_size=1, max_size=256))
def test_any_owner_and_id_make_a_name_that_ollama_takes(owner: str, model_id: str) -> None:
    made = Made(key_of(owner, model_id), "0123456789", 7, "0123456789ab")
    assert is_model_name(made.name)
    assert ollama_name(made.name) == made.name
    assert read_made(made.name) == made
    assert is_of(made, owner)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("coder", "Coder"),
        ("team/model", "team-model"),
        ("a b", "a-b"),
        ("x" * 100, "x" * 101),
        ("-a", "a"),
        (".a", "a"),
    ],
)
def test_ids_that_differ_have_different_names(first: str, second: str) -> None:
    assert key_of("o", first) != key_of("o", second)
    assert key_of(first, "m") != key_of(second, "m")


def test_an_owner_is_no_other_one_that_begins_alike() -> None:
    made = Made(key_of("team-a", "m"), "0123456789", 1, "0123456789ab")
    assert not is_of(made, "team")
    assert not is_of(made, "team-")


def test_an_owner_has_no_dots() -> None:
    """Ollama's namespaces have none."""
    assert "." not in key_of("a.b", "c.d").partition("/")[0]
    assert key_of("a.b", "m") != key_of("a-b", "m")


@pytest.mark.parametrize(
    "name",
    [
        "llama3:latest",
        "ai-gateway-o/coder:latest",
        "ai-gateway-o/coder:0123456789-0-0123456789ab",
        "ai-gateway-o/coder:012345678-1-0123456789ab",
        "ai-gateway-o/coder:0123456789-1-0123456789AB",
        "registry/ai-gateway-o/coder:0123456789-1-0123456789ab",
    ],
)
def test_other_names_are_not_read(name: str) -> None:
    assert read_made(name) is None


def test_a_missing_digest_is_zeros() -> None:
    assert digest_part("") == "0" * 12
    assert digest_part("sha256:ABCDEF0123456789") == "abcdef012345"
