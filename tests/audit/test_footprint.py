"""Who does not use PostgreSQL pays nothing for it."""

import subprocess
import sys

_SAYS = "import sys, ai_gateway.app; print([name for name in sys.modules if name.startswith('psycopg')])"


def test_the_driver_is_not_loaded_with_the_gateway() -> None:
    """25 MB of memory."""
    done = subprocess.run([sys.executable, "-c", _SAYS], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
