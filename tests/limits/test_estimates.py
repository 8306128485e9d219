"""Estimates of a call come near what calls of its model use, and no caller makes them absurd for others."""

import pytest

from ai_gateway.limits.estimates import MOST_CALLERS, MOST_OUTPUT_TOKENS, MOST_PROMPT_TOKENS, Estimates
from ai_gateway.wire.usage import PromptSize, Usage

TEXT = PromptSize(1000)


def taught(estimates: Estimates, caller: str, usage: Usage, times: int = 100, prompt: PromptSize = TEXT) -> Estimates:
    for _ in range(times):
        estimates.learn("llama3", caller, prompt, usage)
    return estimates


def test_a_token_limit_is_the_estimate_of_the_answer() -> None:
    estimate = Estimates().estimate("llama3", "me", PromptSize(400), 50)
    assert (estimate.prompt, estimate.output, estimate.tokens) == (101, 50, 151)


def test_estimates_learn_the_usage_per_model() -> None:
    estimates = taught(Estimates(), "me", Usage(125, 40))
    estimate = estimates.estimate("llama3", "me", TEXT, None)
    assert estimate.prompt == pytest.approx(125, abs=2)
    assert estimate.output == pytest.approx(40, abs=2)
    assert estimates.estimate("coder", "me", TEXT, None) == Estimates().estimate("coder", "me", TEXT, None)


@pytest.mark.parametrize("odd", [Usage(1_000_000, 1_000_000), Usage(1, 1)])
def test_odd_calls_of_one_caller_do_not_affect_others(odd: Usage) -> None:
    """Long answers or images of one caller say nothing of what others will ask."""
    estimates = taught(Estimates(), "odd", odd)
    assert estimates.estimate("llama3", "me", TEXT, None) == Estimates().estimate("llama3", "me", TEXT, None)


def test_a_new_caller_starts_with_the_median_of_the_others() -> None:
    estimates = Estimates()
    for caller in "abcde":
        taught(estimates, caller, Usage(500, 40))
    estimate = estimates.estimate("llama3", "new", TEXT, None)
    assert estimate.prompt == pytest.approx(500, abs=2)
    assert estimate.output == pytest.approx(40, abs=2)


def test_even_many_callers_make_no_absurd_guess() -> None:
    """Addresses cost little: bounds hold whatever they agree on."""
    estimates = Estimates()
    for number in range(MOST_CALLERS + 5):
        taught(estimates, f"sybil-{number}", Usage(1_000_000, 1_000_000), times=20)
    estimate = estimates.estimate("llama3", "me", TEXT, None)
    assert estimate.prompt <= TEXT.text_bytes + 1
    assert estimate.output <= MOST_OUTPUT_TOKENS + 1
    for number in range(MOST_CALLERS + 5):
        taught(estimates, f"sybil-{number}", Usage(1, 1), times=200)
    assert estimates.estimate("llama3", "me", TEXT, None).prompt >= 50


def test_one_odd_call_changes_little() -> None:
    estimates = taught(Estimates(), "me", Usage(10_000, 0), times=1)
    assert estimates.estimate("llama3", "me", TEXT, 0).prompt < 2000
    taught(estimates, "me", Usage(-1, -1), prompt=PromptSize(0))
    assert estimates.estimate("llama3", "me", PromptSize(100), None).tokens > 0


def test_an_image_is_not_taken_for_a_million_tokens() -> None:
    assert Estimates().estimate("llava", "me", PromptSize(20 << 20), 1).prompt == MOST_PROMPT_TOKENS
    estimates = Estimates()
    assert estimates.estimate("llava", "me", PromptSize(100, 1, 1), 1).prompt == 1050
    taught(estimates, "me", Usage(1500, 1), prompt=PromptSize(100, 1, 1))
    assert estimates.estimate("llama3", "me", TEXT, 1).prompt == 251


def test_embeddings_write_nothing() -> None:
    assert Estimates().estimate("embed", "me", PromptSize(400), None, writes=False).output == 0


def test_the_number_of_remembered_models_and_callers_is_bounded() -> None:
    estimates = Estimates()
    for number in range(5000):
        estimates.learn(f"m{number}", "me", PromptSize(100), Usage(1, 1))
        estimates.learn("m", f"caller-{number}", PromptSize(100), Usage(1, 1))
    assert estimates.estimate("m0", "me", TEXT, None) == Estimates().estimate("m0", "me", TEXT, None)
    assert len(estimates._models) <= 1000
    assert len(estimates._models["m"]) == MOST_CALLERS


def test_an_absurd_limit_reserves_no_more_than_a_model_can_write() -> None:
    """`max_tokens` is the caller's own word; others may share the limit that it is taken from."""
    assert Estimates().estimate("m", "a", PromptSize(100), 2**31 - 1).output == 1 << 20
