"""What it costs to know a caller, in process CPU: `python -m bench.access`. No network, no disk."""

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable

import msgspec

from ai_gateway.auth.authenticator import Authenticator, Unknown
from ai_gateway.auth.caching_verifier import CachingVerifier
from ai_gateway.auth.identity import Identity, Method
from ai_gateway.auth.keys import Keys
from ai_gateway.auth.keys_file import KeyEntry, hash_of, new_key
from ai_gateway.config.access import CallerRule
from ai_gateway.wire.credential import read_credential

ROUNDS, TURNS, OTHERS = 15, 20_000, 1000
RULES = msgspec.convert(
    [{"match": {"group": f"g{number}"}} for number in range(20)] + [{"match": {}, "models": ["llama*"]}],
    tuple[CallerRule, ...],
)


def _ring() -> tuple[Keys, str]:
    """A thousand keys, and one of them."""
    entries, shown = [], ""
    for number in range(OTHERS):
        shown, key_id = new_key()
        entries.append(KeyEntry(key_id, f"caller-{number}", hash_of(shown.encode())))
    keys = Keys()
    keys.take(tuple(entries))
    return keys, shown


async def _microseconds(turn: Callable[[], Awaitable[object]]) -> float:
    found = []
    for _ in range(ROUNDS):
        began = time.process_time_ns()
        for _ in range(TURNS):
            await turn()
        found.append((time.process_time_ns() - began) / TURNS / 1000)
    return statistics.median(found)


async def main() -> None:
    """Prints microseconds for each kind, the median of the rounds."""
    keys, shown = _ring()
    identity = Identity("system:serviceaccount:a:b", "kubernetes", None, ("g19",), None, "a/b")

    async def ask(token: bytes) -> tuple[Identity | None, float]:
        return identity, time.time() + 3600

    remembering = CachingVerifier(ask, time.monotonic, time.time)
    by_key: dict[str, Method] = {"keys": keys}
    authenticator = Authenticator(by_key, RULES)
    headers = [(b"host", b"x"), (b"authorization", b"Bearer " + shown.encode()), (b"content-type", b"application/json")]
    wrong = shown[:-1].encode() + b"_"
    token = b"t" * 1200
    await remembering.identify(token)

    async def known() -> object:
        return await authenticator.caller(read_credential(headers))

    async def unknown() -> object:
        try:
            return await authenticator.caller(wrong)
        except Unknown:
            return None

    for name, turn in (
        ("a key, from the headers to the caller", known),
        ("a key that is wrong", unknown),
        ("a token that is remembered", lambda: remembering.identify(token)),
    ):
        print(f"{name}: {await _microseconds(turn):.2f} us")


if __name__ == "__main__":
    asyncio.run(main())
