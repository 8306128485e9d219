"""The image, built once in a run of the tests."""

import os

import pytest
from tests.image.built import Built, built


@pytest.fixture(scope="session")
def image() -> Built:
    """Of this checkout, on the tests' Debian."""
    if os.geteuid() != 0:
        pytest.fail("the image is built and run with namespaces and mounts: run this as root")
    return built()
