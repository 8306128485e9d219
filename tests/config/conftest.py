"""Files as a config names them."""

from pathlib import Path

import pytest
from tests.config.pem_files import write_ca, write_pair


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    """A certificate and its key."""
    return write_pair(tmp_path)


@pytest.fixture
def ca(tmp_path: Path) -> Path:
    """A CA bundle."""
    return write_ca(tmp_path)
