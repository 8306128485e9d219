"""ServiceAccount tokens, which the Kubernetes API server is asked about (TokenReview, authentication.k8s.io/v1)."""

import asyncio
import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from ai_gateway.auth.caching_verifier import MOST_ASKED, CachingVerifier
from ai_gateway.auth.identity import Identity, Unavailable
from ai_gateway.auth.unverified_claims import end_of, is_for, is_over, unverified_claims
from ai_gateway.cluster.api import ApiFailure
from ai_gateway.cluster.token_review import ReviewResult

log = logging.getLogger("ai_gateway.auth")

THREADS: Final = 2 * MOST_ASKED

_ACCOUNT: Final = "system:serviceaccount:"


# One review of a token for an audience. Blocks. Raises ApiFailure.
Ask = Callable[[str, str], ReviewResult]


class ServiceAccounts:
    """Asks about tokens that are made for `audience`."""

    def __init__(
        self,
        review: Ask,
        audience: str,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._review = review
        self._audience = audience
        self._wall_clock = wall_clock
        # Of their own: a flood of tokens must not hold up whatever else waits for a thread.
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="token-review")
        self._remembering = CachingVerifier(self._ask, clock, wall_clock)
        self.reason: str | None = None  # why the API server could not be asked the last time

    def close(self) -> None:
        """No more questions; those under way end by their own timeouts."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def fits(self, token: bytes) -> bool:
        """A JWT of a ServiceAccount, made for the gateway, whose time is not over: others would be refused anyway."""
        claims = unverified_claims(token)
        if claims is None or not is_for(claims, self._audience) or is_over(claims, self._wall_clock()):
            return False
        return str(claims.get("sub", "")).startswith(_ACCOUNT)

    async def identify(self, token: bytes) -> Identity | None:
        """See Method."""
        return await self._remembering.identify(token)

    async def _ask(self, token: bytes) -> tuple[Identity | None, float]:
        answer = await self._answer(token.decode("ascii"))
        # A server that knows nothing of audiences would let in a token that is meant for something else.
        if not answer.authenticated or self._audience not in answer.audiences:
            return None, float("inf")
        account = account_of(answer.user.username)
        ends_at = end_of(unverified_claims(token) or {})  # proved, now that the answer is good
        if account is None or ends_at is None:
            return None, float("inf")
        return Identity(answer.user.username, "kubernetes", None, answer.user.groups, None, account), ends_at

    async def _answer(self, token: str) -> ReviewResult:
        try:
            loop = asyncio.get_running_loop()
            answer = await loop.run_in_executor(self._threads, self._review, token, self._audience)
        except ApiFailure as failure:
            if self.reason != str(failure):
                log.error("tokens of ServiceAccounts cannot be reviewed: %s", failure)
            self.reason = str(failure)
            raise Unavailable(str(failure)) from None
        if self.reason is not None:
            log.info("tokens of ServiceAccounts are reviewed again")
        self.reason = None
        return answer


def account_of(user: str) -> str | None:
    """NAMESPACE/NAME of `system:serviceaccount:NAMESPACE:NAME`, None for any other user."""
    parts = user.removeprefix(_ACCOUNT).split(":") if user.startswith(_ACCOUNT) else []
    return "/".join(parts) if len(parts) == 2 and all(parts) else None
