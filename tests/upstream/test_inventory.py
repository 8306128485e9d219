"""What Ollama's state endpoints say, and what is made of anything else."""

from typing import Any

import pytest

from ai_gateway.balancing.endpoint import HeldModel
from ai_gateway.upstream.details import Details, read_details
from ai_gateway.upstream.inventory import read_models, read_residents

TINY = {
    "name": "Tiny:latest",
    "model": "Tiny:latest",
    "modified_at": "2026-11-23T08:28:15.84834919Z",
    "size": 677376,
    "digest": "f9793c34",
    "details": {"format": "gguf", "family": "llama", "parameter_size": "125K", "quantization_level": "F16"},
}


def test_listed_models_are_known_by_their_canonical_name() -> None:
    """With all that /v1/models/{model} shows; Go's nine digits of a second are read too."""
    assert read_models({"models": [TINY]}) == {
        "tiny:latest": HeldModel("Tiny:latest", "f9793c34", 677376, 1795422495, "llama", "125K", "F16")
    }


@pytest.mark.parametrize("remote", [{"remote_host": "https://ollama.com:443"}, {"remote_model": "gpt-oss:120b"}])
def test_a_stub_for_the_cloud_is_recognised(remote: dict[str, str]) -> None:
    """It is listed like a local model."""
    models = read_models({"models": [{**TINY, **remote}]})
    assert models is not None
    assert models["tiny:latest"].is_remote


@pytest.mark.parametrize(
    "odd",
    [{"name": "x"}, {"name": "x", "size": "1", "modified_at": None, "details": None, "digest": None},
     {"name": "x", "modified_at": "0001-01-01T00:00:00Z"}, {"name": "x", "modified_at": "9999-99-99", "details": []}],
)  # fmt: skip
def test_a_model_with_odd_facts_is_still_a_model(odd: dict[str, Any]) -> None:
    """It can be called all the same."""
    models = read_models({"models": [odd, 7, {}, {"name": None}]})
    assert models is not None
    assert list(models) == ["x:latest"]


@pytest.mark.parametrize("content", [None, [], "x", {}, {"models": None}, {"models": {}}, {"data": []}])
def test_what_is_not_ollamas_list_is_no_list(content: Any) -> None:
    """That means unknown, which is not the same as none."""
    assert read_models(content) is None
    assert read_residents(content) is None


def test_loaded_models_are_known_by_their_canonical_names() -> None:
    """None at all is an answer too."""
    assert read_residents({"models": [TINY, {"name": "me/x"}, 7]}) == frozenset(["tiny:latest", "me/x:latest"])
    assert read_residents({"models": []}) == frozenset()


@pytest.mark.parametrize(
    ("content", "details"),
    [
        (
            {
                "model_info": {"general.architecture": "llama", "llama.context_length": 512},
                "capabilities": ["tools", 7],
            },
            Details(512, ("tools",)),
        ),
        ({"model_info": {"general.architecture": "bert"}}, Details()),
        ({"model_info": [], "capabilities": "x"}, Details()),
        ({}, Details()),
        ([], None),
        (None, None),
    ],
)
def test_details_are_read_where_there_are_any(content: Any, details: Details | None) -> None:
    """What Ollama does not say stays open."""
    assert read_details(content) == details
