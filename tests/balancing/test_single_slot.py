"""Some models run one call at a time, whatever an endpoint's OLLAMA_NUM_PARALLEL says."""

import pytest

from ai_gateway.balancing.single_slot import SINCE, SINCE_BY_PREFIX, is_single
from ai_gateway.wire.versions import version_of


@pytest.mark.parametrize("family", ["mllama", "qwen3vl", "qwen35moe", "lfm2", "nemotron_h", "nemotron_h_moe"])
@pytest.mark.parametrize("version", ["0.24.0", "0.33.0", "0.0.0", None, "x"])
def test_families_with_one_slot(family: str, version: str | None) -> None:
    """A version that tells nothing counts as a new one."""
    assert is_single(family, version, is_embedding=False)


@pytest.mark.parametrize("version", ["0.4.0", "0.33.0", None])
def test_an_embedding_model_has_one_slot_in_every_version(version: str | None) -> None:
    """Of any family."""
    assert is_single("qwen3", version, is_embedding=True)


@pytest.mark.parametrize("family", ["llama", "qwen3", "gemma3", "gptoss", "", "lfm", "mllama2"])
def test_other_families_have_as_many_as_the_endpoint_says(family: str) -> None:
    """Their names may begin alike."""
    assert not is_single(family, "0.33.0", is_embedding=False)


def test_an_older_version_has_no_list_that_came_later() -> None:
    """Its OLLAMA_NUM_PARALLEL holds."""
    assert not is_single("qwen35", "0.20.0", is_embedding=False)
    assert not is_single("qwen3vl", "0.12.6", is_embedding=False)
    assert is_single("qwen3vl", "0.12.7", is_embedding=False)


def test_each_row_has_a_version() -> None:
    """A row that is no version would hold for none."""
    assert all(version_of(since) for since in (*SINCE.values(), *SINCE_BY_PREFIX.values()))
