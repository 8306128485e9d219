"""Guesses at what a call will use come near what calls of its model use."""

import pytest

from ai_gateway.limits.estimates import MOST_PROMPT_TOKENS, Estimates
from ai_gateway.wire.usage import Usage


def test_the_limit_of_the_answer_is_what_may_come() -> None:
    guess = Estimates().guess("llama3", 400, 50)
    assert (guess.prompt, guess.output, guess.tokens) == (101, 50, 151)


def test_what_calls_really_use_is_learnt_per_model() -> None:
    estimates = Estimates()
    for _ in range(100):
        estimates.learn("llama3", 1000, Usage(125, 40), stream_bytes=40 * 180)
    guess = estimates.guess("llama3", 1000, None)
    assert guess.prompt == pytest.approx(125, abs=2)
    assert guess.output == pytest.approx(40, abs=2)
    assert estimates.passed("llama3", 1800) == 10
    assert estimates.guess("coder", 1000, None) == Estimates().guess("coder", 1000, None)


def test_one_odd_call_changes_little() -> None:
    estimates = Estimates()
    estimates.learn("llama3", 1000, Usage(100_000, 0), None)
    assert estimates.guess("llama3", 1000, 0).prompt < 20_000
    estimates.learn("llama3", 0, Usage(-1, -1), 0)  # nonsense of an endpoint
    assert estimates.guess("llama3", 100, None).tokens > 0


def test_an_image_is_not_taken_for_a_million_tokens() -> None:
    assert Estimates().guess("llava", 20 << 20, 1).prompt == MOST_PROMPT_TOKENS


def test_embeddings_write_nothing() -> None:
    assert Estimates().guess("embed", 400, None, writes=False).output == 0


def test_models_without_number_are_not_remembered() -> None:
    estimates = Estimates()
    for number in range(5000):
        estimates.learn(f"m{number}", 100, Usage(1, 1), None)
    assert estimates.guess("m0", 400, None) == Estimates().guess("m0", 400, None)
