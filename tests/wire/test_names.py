"""Ollama's model names: which are valid, which are equal, and which lead to its cloud."""

import pytest

from ai_gateway.wire.names import is_cloud, is_model_name, ollama_name


@pytest.mark.parametrize(
    "name",
    [
        "llama3", "llama3:latest", "llama3.2:1b-instruct-q4_K_M", "library/llama3", "me/my_model:v1", "_x", "A",
        "registry.ollama.ai/library/llama3:8b", "localhost:5000/me/model:tag", "hf.co/bartowski/Llama-3.2-1B-GGUF:Q8_0",
        "a" * 80, "a:" + "b" * 80,
    ],
)  # fmt: skip
def test_names_that_ollama_accepts_are_names(name: str) -> None:
    """types/model/name.go."""
    assert is_model_name(name)


@pytest.mark.parametrize(
    "name",
    [
        "", " ", "a b", "-a", ".a", ":tag", "a:", "/a", "a/", "//x", "a//b", "../../etc/passwd", "a/../b", "a/./b",
        "http://evil/x", "a/b/c/d", "na.me/model", "a:b:c", "é", "a\n", "a" * 81, "a:" + "b" * 81, "a@sha256", "\u212a",
        "a\x00", "a%2fb", "a\\b",
    ],
)  # fmt: skip
def test_a_name_that_ollama_would_refuse_is_not_a_name(name: str) -> None:
    """Above all nothing that climbs in paths or names another scheme."""
    assert not is_model_name(name)


@pytest.mark.parametrize(
    ("name", "form"),
    [
        ("llama3", "llama3:latest"),
        ("llama3:latest", "llama3:latest"),
        ("Llama3:8B", "llama3:8b"),
        ("library/llama3", "llama3:latest"),
        ("registry.ollama.ai/library/llama3:8b", "llama3:8b"),
        ("Registry.Ollama.ai/Library/llama3", "llama3:latest"),
        ("registry.ollama.ai/me/x", "me/x:latest"),
        ("me/x", "me/x:latest"),
        ("localhost:5000/me/x", "localhost:5000/me/x:latest"),
        ("localhost:5000/me/x:v1", "localhost:5000/me/x:v1"),
    ],
)
def test_names_are_compared_by_one_form(name: str, form: str) -> None:
    """Ollama finds a model in any case, with or without default host, namespace and tag."""
    assert ollama_name(name) == form
    assert ollama_name(form) == form


@pytest.mark.parametrize("name", ["gpt-oss:cloud", "gpt-oss:120b-cloud", "me/x:Cloud", "x:1-CLOUD", "h:5/me/x:cloud"])
def test_cloud_names_are_recognised(name: str) -> None:
    """By their tag, in any case (internal/modelref in ollama/ollama)."""
    assert is_cloud(name)


@pytest.mark.parametrize("name", ["llama3", "cloud", "my-cloud", "cloud/x", "my-cloud:latest", "x:cloudy", "x:cloud-1"])
def test_local_names_are_not_cloud_names(name: str) -> None:
    """A word in the name itself leads nowhere."""
    assert not is_cloud(name)
