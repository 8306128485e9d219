"""The errors that mean "this JSON cannot be read"."""

from typing import Final

import msgspec

# Not JSON, or other types than the decoder wants; not UTF-8; lists and objects nested too deeply.
UNREADABLE: Final = (msgspec.DecodeError, UnicodeError, RecursionError)
