"""Documents of an issuer: small, plain and from their own URL, or a failure with its reason."""

import gzip

import pytest
from tests.upstream.scripted import Script, a_client, answer, answers, serving
from tests.upstream.test_answer_bounds import OK, answers_with, says

from ai_gateway.auth.oidc import FetchFailure
from ai_gateway.upstream.fetching import MAX_BYTES, Fetching

KEYS = b'{"keys":[]}'


async def test_a_document_is_fetched_whole() -> None:
    """Up to its largest size."""
    for body in (KEYS, KEYS + b" " * (MAX_BYTES - len(KEYS))):
        async with serving(answers(body)) as server, a_client() as client:
            assert await Fetching(client)(f"{server.address.url}/keys") == body


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        (says(OK + b"\r\n", b" "), "larger than"),
        (says(OK + b"x: ", b"y"), "cannot be read"),
        (answers_with(answer(gzip.compress(KEYS), extra=b"content-encoding: gzip\r\n")), "compressed"),
        (answers_with(answer(KEYS, b"302 Found", b"location: http://169.254.169.254/\r\n")), "answered 302"),
        (answers_with(b"SSH-2.0-OpenSSH_9\r\n\r\n"), "cannot be read"),
    ],
)
async def test_anything_but_a_small_plain_document_is_a_failure(script: Script, reason: str) -> None:
    """The issuer may be taken over, or another service may answer in its place."""
    async with serving(script) as server, a_client() as client:
        with pytest.raises(FetchFailure, match=reason):
            await Fetching(client)(f"{server.address.url}/keys")
