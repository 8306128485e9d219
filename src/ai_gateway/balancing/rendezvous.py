"""Which endpoint a conversation begins at: all gateways choose the same one, without a word between them."""

from collections.abc import Callable, Sequence
from hashlib import blake2b
from math import log
from typing import Final, Protocol, TypeVar

_MASK: Final = (1 << 64) - 1
_SPREAD: Final = (0xBF58476D1CE4E5B9, 0x94D049BB133111EB)  # the multipliers of SplitMix64
_TOP: Final = (1 << 52) - 1  # so many bits, and a half, are exact in a float
_UNIT: Final = 2.0**-52


def number_of(name: str) -> int:
    """64 bits made of a stable name, for `rendezvous`: the same in all gateways. Make it once per endpoint."""
    return int.from_bytes(blake2b(name.encode(), digest_size=8, person=b"endpoint").digest(), "big")


class Numbered(Protocol):
    """What `rendezvous` reads of an endpoint."""

    @property
    def number(self) -> int:
        """See `number_of`."""


N = TypeVar("N", bound=Numbered)


def rendezvous(key: bytes, endpoints: Sequence[N], weight: Callable[[N], float]) -> N:
    """The endpoint for a key: each gateway chooses the same one of the same endpoints (never empty).

    An endpoint gets as many keys as its weight says (above 0). One that leaves moves only its own keys. See Thaler and
    Ravishankar, "A name-based mapping scheme for rendezvous" (1996), and Schindelhauer and Schomaker, "Weighted
    distributed hash tables" (2005).
    """
    mine = int.from_bytes(key[:8], "big")
    first, second = _SPREAD
    best, most = endpoints[0], 0.0
    for endpoint in endpoints:
        mixed = (mine ^ endpoint.number) * first & _MASK  # both are even over 64 bits: this parts what they share
        mixed = (mixed ^ mixed >> 32) * second >> 12 & _TOP
        share, its_weight = (mixed + 0.5) * _UNIT, weight(endpoint)
        if its_weight > most * (1.0 - share):  # most are out without a logarithm: it is at most share - 1
            score = its_weight / -log(share)
            if score > most:
                best, most = endpoint, score
    return best
