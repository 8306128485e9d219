"""The answers of Ollama's state endpoints, valid and invalid."""

import json
from typing import Any

import pytest

from ai_gateway.balancing.endpoint import HeldModel
from ai_gateway.upstream.details import MOST_CAPABILITIES, MOST_FACTS, Details, read_details
from ai_gateway.upstream.inventory import (
    MOST_MODELS,
    BadInventory,
    read_list,
    read_models,
    read_residents,
    read_version,
)

TINY = {
    "name": "Tiny:latest",
    "model": "Tiny:latest",
    "modified_at": "2026-11-23T08:28:15.84834919Z",
    "size": 677376,
    "digest": "f9793c34",
    "details": {"format": "gguf", "family": "llama", "parameter_size": "125K", "quantization_level": "F16"},
}


def models_in(content: Any) -> dict[str, HeldModel]:
    return read_models(read_list(json.dumps(content).encode()))


def residents_in(content: Any) -> frozenset[str]:
    return read_residents(read_list(json.dumps(content).encode()))


def test_listed_models_are_keyed_by_ollamas_name() -> None:
    """With all that /v1/models/{model} shows; Go's nine digits of a second are read too."""
    assert models_in({"models": [TINY]}) == {
        "tiny:latest": HeldModel("Tiny:latest", "f9793c34", 677376, 1795422495, "llama", "125K", "F16")
    }


@pytest.mark.parametrize("remote", [{"remote_host": "https://ollama.com:443"}, {"remote_model": "gpt-oss:120b"}])
def test_a_stub_for_the_cloud_is_recognised(remote: dict[str, str]) -> None:
    """It is listed like a local model."""
    models = models_in({"models": [{**TINY, **remote}]})
    assert models["tiny:latest"].is_remote


@pytest.mark.parametrize(
    "odd",
    [{"name": "x"}, {"name": "x", "size": "1", "modified_at": None, "details": None, "digest": None},
     {"name": "x", "modified_at": "0001-01-01T00:00:00Z"}, {"name": "x", "modified_at": "9999-99-99", "details": []}],
)  # fmt: skip
def test_a_model_with_odd_facts_is_still_a_model(odd: dict[str, Any]) -> None:
    """It can be called all the same."""
    assert list(models_in({"models": [odd, 7, {}, {"name": None}]})) == ["x:latest"]


@pytest.mark.parametrize("content", [None, [], "x", {}, {"models": None}, {"models": {}}, {"data": []}])
def test_what_is_not_ollamas_list_is_no_list(content: Any) -> None:
    """That means unknown, which is not the same as none."""
    with pytest.raises(BadInventory, match="is not Ollama's list"):
        models_in(content)


def test_loaded_models_are_keyed_by_ollamas_name() -> None:
    """None at all is an answer too."""
    assert residents_in({"models": [TINY, {"name": "me/x"}, 7]}) == frozenset(["tiny:latest", "me/x:latest"])
    assert residents_in({"models": []}) == frozenset()


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
def test_details_are_read_if_there_are_any(content: Any, details: Details | None) -> None:
    """What Ollama does not say stays open."""
    assert read_details(json.dumps(content).encode()) == details


@pytest.mark.parametrize(
    "name",
    [
        "", " ", "a b", "a\x00b", "a\nb", "\u202ellama", "a" * 81, "x/" * 5 + "y", "../../etc/passwd", "ümlaut", ":",
        "a:", 7, None, ["x"], {"x": 1}, True, "a" * 5000,
    ],
)  # fmt: skip
def test_an_invalid_model_name_is_left_out(name: Any) -> None:
    """Such a name would only make labels, lines of a log and lists longer."""
    assert models_in({"models": [{"name": name}, TINY]}).keys() == {"tiny:latest"}
    assert residents_in({"models": [{"name": name}, TINY]}) == {"tiny:latest"}


@pytest.mark.parametrize("fact", ["x" * 129, "a\x07b", "\u2028", 7, None, [], {"a": 1}, True])
def test_a_fact_that_is_no_short_text_is_none(fact: Any) -> None:
    """It would be in every answer about the model, and in memory."""
    details = {"family": fact, "parameter_size": fact, "quantization_level": fact}
    model = models_in({"models": [{**TINY, "digest": fact, "details": details}]})["tiny:latest"]
    assert (model.digest, model.family, model.parameter_size, model.quantization) == ("", "", "", "")


@pytest.mark.parametrize(
    "size", [b"-1", b"1e999", b"9" * 5000, b"18446744073709551616", b"1.5", b'"1"', b"true", b"null"]
)
def test_a_size_that_is_no_number_of_bytes_is_none(size: bytes) -> None:
    """However many digits it has."""
    models = read_models(read_list(b'{"models":[{"name":"x","size":%b,"modified_at":%b}]}' % (size, size)))
    assert (models["x:latest"].size, models["x:latest"].modified) == (0, 0)


def test_the_last_value_of_a_repeated_key_counts() -> None:
    """As in every reader of JSON that we know; the first one's content leaves nothing."""
    body = b'{"models":[{"name":"c"}],"models":[{"name":"a","name":"b","digest":"1","digest":7}]}'
    assert read_models(read_list(body)) == {"b:latest": HeldModel("b", "", 0, 0)}


def test_a_long_list_is_read_and_an_absurd_one_is_not() -> None:
    """Ollama's entries with every field that it has; what is refused is counted before objects are made of it."""
    entry = {
        **TINY,
        "model": "Tiny:latest",
        "details": {"parent_model": "", "format": "gguf", "family": "llama", "families": ["llama", "clip"],
                    "parameter_size": "8.0B", "quantization_level": "Q4_K_M", "context_length": 131072,
                    "embedding_length": 4096},
        "capabilities": ["completion", "tools", "thinking", "vision", "insert"],
    }  # fmt: skip
    listed = [{**entry, "name": f"registry.example.com/team/model-{number}:latest"} for number in range(MOST_MODELS)]
    assert len(models_in({"models": listed})) == MOST_MODELS
    with pytest.raises(BadInventory, match=f"lists more than {MOST_MODELS} models"):
        models_in({"models": [*listed, entry]})
    with pytest.raises(BadInventory, match="lists more than"):
        read_list(b'{"models":[' + b"1," * 500_000 + b"1]}")


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b'{"models":[]}x', b'{"models":[\xff]}', b'{"x":"\xff","models":[]}', b'{"models":[NaN]}',
     b"[" * 1_000_000, b'{"models":' + b"[" * 1_000_000, b'{"models":[]', b'\xef\xbb\xbf{"models":[]}',
     b'\xff\xfe{\x00}\x00', b" " * 1_000_000, b'{"models":[],"x":"\x00"}'],
)  # fmt: skip
def test_what_is_no_json_in_utf_8_is_no_list(body: bytes) -> None:
    """Also where nobody reads the odd part."""
    with pytest.raises(BadInventory):
        read_list(body)


@pytest.mark.parametrize(
    ("body", "version"),
    [
        (b'{"version":"0.24.0"}', "0.24.0"),
        (b'{"version":7}', None),
        (b'{"version":""}', None),
        (b'{"version":"%b"}' % (b"9" * 129), None),
        (b'{"version":"1\\u001b[31m"}', None),
        (b'{"version":[[[[[[1]]]]]]}', None),
    ],
)
def test_a_version_is_a_short_text(body: bytes, version: str | None) -> None:
    """Health and the log show it."""
    assert read_version(body) == version


@pytest.mark.parametrize("body", [b"", b"{}", b"[]", b'{"version":"\xff"}', b'"0.24.0"', b" " * 1_000_000])
def test_an_answer_without_a_version_is_not_ollamas(body: bytes) -> None:
    """Another service answers there."""
    with pytest.raises(BadInventory):
        read_version(body)


def test_details_are_no_longer_than_they_can_be() -> None:
    """What an endpoint tells of a file is kept by its digest."""
    facts = {"general.architecture": "llama", "llama.context_length": 512}
    many = {"model_info": {**facts, **{f"k{number}": 1 for number in range(MOST_FACTS)}}}
    assert read_details(json.dumps(many).encode()) == Details()
    words = {"model_info": facts, "capabilities": ["x" * 65, "a\x07", "tools", 7]}
    assert read_details(json.dumps(words).encode()) == Details(512, ("tools",))
    assert read_details(json.dumps({"capabilities": ["x"] * (MOST_CAPABILITIES + 1)}).encode()) == Details()
    for length in (-1, 1 << 70, "512", 1.5, True):
        told = {"model_info": {**facts, "llama.context_length": length}}
        assert read_details(json.dumps(told).encode()) == Details()
