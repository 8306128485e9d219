"""Asks one other gateway for its report, on its admin port, over a kept connection."""

import asyncio
from typing import Final, Literal

from ai_gateway.balancing.report import MOST_BYTES
from ai_gateway.upstream.client import Client, Request
from ai_gateway.upstream.failures import UpstreamFailure
from ai_gateway.wire.address import Address

PATH: Final = "/report"
ANSWER_SECONDS: Final = 1.0  # for all of it; an answer takes a millisecond

# Why there is no report: no whole answer in time, another status than 200, or an answer that is not its report.
Why = Literal["unreachable", "refused", "invalid"]
WHYS: Final[tuple[Why, ...]] = ("unreachable", "refused", "invalid")


class Unheard(Exception):
    """A gateway did not give its report; the text is the reason."""

    def __init__(self, why: Why, reason: str) -> None:
        super().__init__(reason)
        self.why = why


class Asking:
    """The client, as far as it asks other gateways; each has `seconds` for its whole answer."""

    def __init__(self, client: Client, seconds: float = ANSWER_SECONDS) -> None:
        self._client = client
        self._seconds = seconds

    def keep(self, address: Address) -> None:
        """From now on the connection to it is kept."""
        self._client.keep(address)

    def forget(self, address: Address) -> None:
        """It is asked no more."""
        self._client.forget(address)

    async def ask(self, address: Address) -> bytes:
        """The bytes of its report, MOST_BYTES at most. Raises Unheard."""
        try:
            async with (
                asyncio.timeout(self._seconds),
                self._client.exchange(address, Request("GET", PATH), self._seconds) as answer,
            ):
                if answer.head.status != 200:
                    hint = " (is it of an older release?)" if answer.head.status == 404 else ""
                    raise Unheard("refused", f"answers {answer.head.status}{hint}")
                return await answer.read_all(MOST_BYTES)
        except TimeoutError:
            raise Unheard("unreachable", f"does not answer within {self._seconds:g} s") from None
        except UpstreamFailure as failure:
            raise Unheard("unreachable", f"does not answer: {failure}") from None
