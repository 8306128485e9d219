"""What a pull says that it has downloaded: the bytes that came since, whatever was there before."""

import pytest

from ai_gateway.upstream.progress import Progress


def said(*layers: tuple[str, int]) -> Progress:
    """A pull whose layers of 100 bytes were told of in this order."""
    progress = Progress("key", 0.0)
    for name, completed in layers:
        line = f'{{"status":"pulling","digest":"sha256:{name}","total":100,"completed":{completed}}}\n'
        progress.feed(line.encode(), 1.0)
    return progress


@pytest.mark.parametrize(
    ("layers", "received"),
    [
        ((("a", 0), ("a", 40), ("a", 100)), 100),
        ((("a", 0), ("a", 40), ("b", 0), ("a", 50), ("b", 100)), 150),
        ((("a", 70), ("a", 100)), 30),  # a pull goes on where another one broke off
        ((("a", 100), ("b", 0), ("b", 10)), 10),  # a layer that is on the disk is told of as complete
        ((("a", 0), ("a", 50), ("a", 20), ("a", 50)), 80),  # a part of it is downloaded anew
        ((("a", 0), ("a", 5000)), 100),  # no more than there is
    ],
)
def test_what_was_there_before_is_not_counted(layers: tuple[tuple[str, int], ...], received: int) -> None:
    assert said(*layers).received == received
