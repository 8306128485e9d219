"""Ollama's version numbers compare as its releases follow each other."""

import pytest

from ai_gateway.wire.versions import version_of

IN_ORDER = ["0.4.0", "0.24.0", "0.32.9", "0.32.10-rc1", "0.32.10-rc10", "0.32.10", "0.33.0-rc2", "0.33.0", "1.0.0"]


def test_versions_compare_by_their_numbers() -> None:
    """Not as texts; a release candidate comes before its release."""
    versions = [version for version in map(version_of, IN_ORDER) if version is not None]
    assert len(versions) == len(IN_ORDER)
    assert sorted(versions) == versions


@pytest.mark.parametrize("text", ["v0.24.0", "0.24.0-12-gabc1234", "0.24.0+cuda", "0.24.0-dirty"])
def test_a_build_after_a_release_counts_as_the_release(text: str) -> None:
    """Distributions and scripts add their own words."""
    assert version_of(text) == version_of("0.24.0")


@pytest.mark.parametrize("text", [None, "", "0.0.0", "0.0.0-rc1", "24", "0.24", "x", "0.24.0.1", "0.24.x", "1" * 5000])
def test_a_source_build_and_other_texts_are_no_version(text: str | None) -> None:
    """Nothing is known of what they do."""
    assert version_of(text) is None
