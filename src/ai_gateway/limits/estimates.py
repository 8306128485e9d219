"""Estimates the tokens of a call before it runs, from earlier calls of its model.

Each caller has its own averages. A new caller starts with the median of the others, within bounds. So odd traffic of
one caller cannot spoil the estimates for others.
"""

from collections import OrderedDict
from typing import Final

import msgspec

from ai_gateway.wire.usage import MOST_TOKENS, TOKENS_PER_MEDIUM, PromptSize, Usage

FIRST_TOKENS_PER_BYTE: Final = 0.25  # of a request body: four letters a token
FIRST_OUTPUT_TOKENS: Final = 256.0
# Bounds for the averages of others: no text has more tokens than bytes, and few answers are longer.
LEAST_TOKENS_PER_BYTE: Final = 0.05
MOST_TOKENS_PER_BYTE: Final = 1.0
LEAST_OUTPUT_TOKENS: Final = 16.0
MOST_OUTPUT_TOKENS: Final = 4096.0
MOST_PROMPT_TOKENS: Final = 32_768  # highest estimate, whatever earlier calls of the caller were
WEIGHT: Final = 0.1  # of the newest call in the moving averages
MOST_MODELS: Final = 1000
MOST_CALLERS: Final = 32  # per model; the most recent ones stay


class Estimate(msgspec.Struct, frozen=True):
    """The tokens that a call may use."""

    prompt: int
    output: int

    @property
    def tokens(self) -> int:
        """All of them."""
        return self.prompt + self.output


class Habit(msgspec.Struct):
    """What calls of a model used, as moving averages (EWMA)."""

    tokens_per_byte: float = FIRST_TOKENS_PER_BYTE
    output_tokens: float = FIRST_OUTPUT_TOKENS


class Estimates:
    """The averages by model and caller. Only `learn` changes them."""

    def __init__(self) -> None:
        self._models: OrderedDict[str, OrderedDict[str, Habit]] = OrderedDict()

    def estimate(
        self, model: str, caller: str, prompt: PromptSize, token_limit: int | None, *, writes: bool = True
    ) -> Estimate:
        """The estimate for a call. `token_limit` limits its answer; a call that does not `write` has no output."""
        habit = self._habit(model, caller)
        read = int(prompt.text_bytes * habit.tokens_per_byte) + TOKENS_PER_MEDIUM * prompt.media + 1
        read = min(read, MOST_PROMPT_TOKENS)
        if not writes:
            return Estimate(read, 0)
        written = min(int(habit.output_tokens) + 1, MOST_PROMPT_TOKENS)
        # The limit may be any number. Never take more than a model can write from a limit that others share.
        return Estimate(read, written if token_limit is None else min(token_limit, MOST_TOKENS))

    def learn(self, model: str, caller: str, prompt: PromptSize, usage: Usage) -> None:
        """Learns from what a call used. Calls with images teach nothing about text."""
        known = self._models.get(model)
        if known is None:
            if len(self._models) >= MOST_MODELS:
                self._models.popitem(last=False)
            known = self._models[model] = OrderedDict()
        habit = known.get(caller)
        if habit is None:
            habit = self._first(known)
            if len(known) >= MOST_CALLERS:
                known.popitem(last=False)
            known[caller] = habit
        known.move_to_end(caller)
        if usage.input_tokens > 0 and not prompt.media and prompt.text_bytes:
            habit.tokens_per_byte += WEIGHT * (usage.input_tokens / prompt.text_bytes - habit.tokens_per_byte)
        if usage.output_tokens > 0:
            habit.output_tokens += WEIGHT * (usage.output_tokens - habit.output_tokens)

    def _habit(self, model: str, caller: str) -> Habit:
        known = self._models.get(model)
        return Habit() if known is None else known.get(caller) or self._first(known)

    def _first(self, known: OrderedDict[str, Habit]) -> Habit:
        """The averages for a new caller: the median of the others and of two defaults.

        The defaults outvote a single odd caller.
        """
        habits = [*known.values(), Habit(), Habit()]
        per_byte = _median([habit.tokens_per_byte for habit in habits])
        output = _median([habit.output_tokens for habit in habits])
        return Habit(
            min(max(per_byte, LEAST_TOKENS_PER_BYTE), MOST_TOKENS_PER_BYTE),
            min(max(output, LEAST_OUTPUT_TOKENS), MOST_OUTPUT_TOKENS),
        )


def _median(values: list[float]) -> float:
    """The lower one of two. `statistics` has it, too, and takes half a megabyte for fractions and decimals."""
    return sorted(values)[(len(values) - 1) // 2]
