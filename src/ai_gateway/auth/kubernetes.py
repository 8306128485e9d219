"""ServiceAccount tokens, verified by the Kubernetes API server (TokenReview, authentication.k8s.io/v1)."""

import asyncio
import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from ai_gateway.auth.caching_verifier import MOST_CONCURRENT, CachingVerifier
from ai_gateway.auth.identity import Identity, Unavailable
from ai_gateway.auth.unverified_claims import end_of, is_expired, is_for, unverified_claims
from ai_gateway.cluster.api import ApiFailure
from ai_gateway.cluster.token_review import ReviewResult

log = logging.getLogger("ai_gateway.auth")

THREADS: Final = 2 * MOST_CONCURRENT

_ACCOUNT: Final = "system:serviceaccount:"


# Reviews a token for an audience. Blocks. Raises ApiFailure.
Review = Callable[[str, str], ReviewResult]


class ServiceAccounts:
    """Verifies tokens that are made for `audience`."""

    def __init__(
        self,
        review: Review,
        audience: str,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._review = review
        self._audience = audience
        self._wall_clock = wall_clock
        # Its own pool: a flood of tokens must not block other work in threads.
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="token-review")
        self._verifier = CachingVerifier(self._verify, clock, wall_clock)
        self.reason: str | None = None  # why the last review failed

    def close(self) -> None:
        """Stops reviews; running ones end by their own timeouts."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def fits(self, token: bytes) -> bool:
        """Whether it is an unexpired JWT of a ServiceAccount for the gateway. The API server would refuse others."""
        claims = unverified_claims(token)
        if claims is None or not is_for(claims, self._audience) or is_expired(claims, self._wall_clock()):
            return False
        return str(claims.get("sub", "")).startswith(_ACCOUNT)

    async def identify(self, token: bytes) -> Identity | None:
        """See Method."""
        return await self._verifier.identify(token)

    async def _verify(self, token: bytes) -> tuple[Identity | None, float]:
        answer = await self._review_result(token.decode("ascii"))
        # A server without support for audiences would accept tokens for other services.
        if not answer.authenticated or self._audience not in answer.audiences:
            return None, float("inf")
        account = account_of(answer.user.username)
        ends_at = end_of(unverified_claims(token) or {})  # the result proves the claims
        if account is None or ends_at is None:
            return None, float("inf")
        return Identity(answer.user.username, "kubernetes", None, answer.user.groups, None, account), ends_at

    async def _review_result(self, token: str) -> ReviewResult:
        try:
            loop = asyncio.get_running_loop()
            answer = await loop.run_in_executor(self._threads, self._review, token, self._audience)
        except ApiFailure as failure:
            if self.reason != str(failure):
                log.error("auth: cannot verify ServiceAccount tokens: %s", failure)
            self.reason = str(failure)
            raise Unavailable(str(failure)) from None
        if self.reason is not None:
            log.info("auth: ServiceAccount tokens can be verified again")
        self.reason = None
        return answer


def account_of(user: str) -> str | None:
    """NAMESPACE/NAME of `system:serviceaccount:NAMESPACE:NAME`, None for any other user."""
    parts = user.removeprefix(_ACCOUNT).split(":") if user.startswith(_ACCOUNT) else []
    return "/".join(parts) if len(parts) == 2 and all(parts) else None
