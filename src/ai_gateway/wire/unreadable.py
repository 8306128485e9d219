"""What it means that JSON cannot be read: the errors of a decoder, whatever it was given."""

from typing import Final

import msgspec

# No JSON, or other types than were asked for; no UTF-8; lists and objects nested deeper than can be read.
UNREADABLE: Final = (msgspec.DecodeError, UnicodeError, RecursionError)
