"""The servers are themselves tested here: a test that stops one must be able to rely on it."""

from tests.services.fixtures import mortal_postgresql, postgresql

__all__ = ["mortal_postgresql", "postgresql"]
