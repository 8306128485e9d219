"""ServiceAccount tokens, with a stand-in for the API server; tests/kubernetes asks a real one."""

import asyncio
import threading

import pytest
from tests.auth.tokens import AUDIENCE, NOW, account_token, unsigned
from tests.flow.waiting import soon

from ai_gateway.auth import caching_verifier
from ai_gateway.auth.caching_verifier import (
    KNOWN_SECONDS,
    MOST_WAITING,
    STALE_SECONDS,
    UNAVAILABLE_SECONDS,
    UNKNOWN_SECONDS,
)
from ai_gateway.auth.identity import Unavailable
from ai_gateway.auth.kubernetes import ServiceAccounts, account_of
from ai_gateway.cluster.api import Unreachable
from ai_gateway.cluster.token_review import ReviewResult, _User


class _Server:
    """Answers reviews and counts them; may be away."""

    def __init__(self) -> None:
        self.answer = ReviewResult(
            True, _User("system:serviceaccount:team-a:web", ("system:serviceaccounts",)), (AUDIENCE,)
        )
        self.asked: list[str] = []
        self.is_away = False
        self.lets_pass = ""
        self.held = threading.Event()
        self.held.set()

    def __call__(self, token: str, audience: str) -> ReviewResult:
        self.asked.append(token)
        assert audience == AUDIENCE
        assert token == self.lets_pass or self.held.wait(120)
        if self.is_away:
            raise Unreachable("connection refused")
        return self.answer


class _World:
    def __init__(self) -> None:
        self.now = 0.0
        self.wall = NOW
        self.server = _Server()
        self.accounts = ServiceAccounts(self.server, AUDIENCE, lambda: self.now, lambda: self.wall)


async def test_a_token_is_reviewed_once_and_remembered_for_a_minute() -> None:
    world, token = _World(), account_token()
    for _ in range(3):
        identity = await world.accounts.identify(token)
        assert identity is not None
        assert (identity.name, identity.service_account) == ("system:serviceaccount:team-a:web", "team-a/web")
        assert (identity.groups, identity.method) == (("system:serviceaccounts",), "kubernetes")
    assert len(world.server.asked) == 1
    world.now = KNOWN_SECONDS
    await world.accounts.identify(token)
    assert len(world.server.asked) == 2


@pytest.mark.parametrize(
    "answer",
    [
        ReviewResult(False),
        ReviewResult(True, _User("system:serviceaccount:team-a:web"), ()),  # a server that knows nothing of audiences
        ReviewResult(True, _User("system:serviceaccount:team-a:web"), ("other",)),
        ReviewResult(True, _User("system:node:worker"), (AUDIENCE,)),
        ReviewResult(True, _User("system:serviceaccount:team-a"), (AUDIENCE,)),
    ],
)
async def test_what_the_server_does_not_vouch_for_is_nobodys_and_asked_again_after_five_seconds(
    answer: ReviewResult,
) -> None:
    world, token = _World(), account_token()
    world.server.answer = answer
    assert await world.accounts.identify(token) is None
    assert await world.accounts.identify(token) is None
    assert len(world.server.asked) == 1
    world.now = UNKNOWN_SECONDS
    await world.accounts.identify(token)
    assert len(world.server.asked) == 2


async def test_while_the_server_is_away_known_callers_go_on_and_others_are_not_told_that_they_are_unknown() -> None:
    world, token = _World(), account_token(seconds=10_000)
    await world.accounts.identify(token)
    world.server.is_away = True
    world.now = KNOWN_SECONDS + 1
    assert await world.accounts.identify(token) is not None
    with pytest.raises(Unavailable):
        await world.accounts.identify(account_token(account="team-b:web"))
    assert world.accounts.reason == "connection refused"
    world.now = STALE_SECONDS
    with pytest.raises(Unavailable):
        await world.accounts.identify(token)
    world.server.is_away = False
    assert await world.accounts.identify(token) is not None
    assert not world.accounts.reason


async def test_a_server_that_hangs_holds_up_a_known_caller_once_and_not_for_long() -> None:
    world, token = _World(), account_token(seconds=10_000)
    await world.accounts.identify(token)
    world.now = KNOWN_SECONDS + 1
    world.server.held.clear()
    assert await soon(world.accounts.identify(token)) is not None
    asked = len(world.server.asked)
    for _ in range(50):
        assert await world.accounts.identify(token) is not None
    assert len(world.server.asked) == asked
    world.server.answer = ReviewResult(False)
    world.server.held.set()
    world.now += UNAVAILABLE_SECONDS + 1
    assert await world.accounts.identify(token) is None


async def test_a_flood_of_unknown_tokens_keeps_no_revoked_token_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was known before is asked about in turns of its own, however many strangers wait."""
    monkeypatch.setattr(
        caching_verifier, "PATIENCE_SECONDS", 3600.0
    )  # the answer comes, and may take a busy machine long
    world, revoked = _World(), account_token(seconds=10_000)
    await world.accounts.identify(revoked)
    world.now = KNOWN_SECONDS + 1
    world.server.answer = ReviewResult(False)
    world.server.lets_pass = revoked.decode()
    world.server.held.clear()
    tokens = [account_token(jti=str(number)) for number in range(MOST_WAITING)]
    flood = [asyncio.create_task(world.accounts.identify(token)) for token in tokens]
    assert await world.accounts.identify(revoked) is None
    world.server.held.set()
    await asyncio.gather(*flood)


async def test_a_token_that_is_over_is_nobodys_though_it_is_remembered() -> None:
    world, token = _World(), account_token(seconds=30)
    assert await world.accounts.identify(token) is not None
    world.wall += 31
    assert await world.accounts.identify(token) is None
    world.now, world.server.is_away = KNOWN_SECONDS + 1.0, True
    assert await world.accounts.identify(token) is None
    assert not world.accounts.fits(token)


async def test_many_requests_with_one_token_ask_once_and_one_that_leaves_does_not_end_it() -> None:
    world, token = _World(), account_token()
    world.server.held.clear()
    waiting = [asyncio.create_task(world.accounts.identify(token)) for _ in range(20)]
    while not world.server.asked:  # noqa: ASYNC110 - the thread cannot set an event of the loop
        await asyncio.sleep(0)
    waiting[0].cancel()
    world.server.held.set()
    found = await asyncio.gather(*waiting, return_exceptions=True)
    assert isinstance(found[0], asyncio.CancelledError)
    assert all(getattr(one, "service_account", None) == "team-a/web" for one in found[1:])
    assert len(world.server.asked) == 1


async def test_a_flood_of_unknown_tokens_waits_in_a_bounded_line() -> None:
    world = _World()
    world.server.held.clear()
    tokens = [account_token(jti=str(number)) for number in range(MOST_WAITING + 5)]
    waiting = [asyncio.create_task(world.accounts.identify(token)) for token in tokens]
    for _ in range(10):
        await asyncio.sleep(0)
    refused = [task for task in waiting if task.done()]
    assert len(refused) == 5
    assert all(isinstance(task.exception(), Unavailable) for task in refused)
    world.server.held.set()
    await asyncio.gather(*waiting, return_exceptions=True)


@pytest.mark.parametrize(
    "token",
    [
        *(b"", b"aigw_key", b"a.b.c", b"..", b"a.b", account_token(audience="other"), account_token(seconds=-1)),
        unsigned({"alg": "RS256"}, sub="someone"),
        unsigned({"alg": "RS256"}, sub="system:serviceaccount:a:b", exp=None),
        unsigned({"alg": "RS256"}, sub="system:serviceaccount:a:b", exp=True),
        unsigned({"alg": "RS256"}, sub="system:serviceaccount:a:b", exp=10**400, aud=[AUDIENCE]),
        unsigned({"alg": "RS256"}, sub="system:serviceaccount:a:b", exp=1e300, aud=[AUDIENCE]),
        unsigned({"alg": "RS256"}, sub=["system:serviceaccount:a:b"], aud={}),
    ],
)
def test_what_nobody_would_accept_is_not_asked_about(token: bytes) -> None:
    assert not _World().accounts.fits(token)


def test_a_service_account_is_named_by_namespace_and_name() -> None:
    assert account_of("system:serviceaccount:team-a:web") == "team-a/web"
    for user in (
        "team-a/web",
        "system:serviceaccount:team-a",
        "system:serviceaccount:a:b:c",
        "system:serviceaccount::b",
    ):
        assert account_of(user) is None
