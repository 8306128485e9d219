"""How many tokens a call may take, guessed before it runs from what earlier calls of its model took."""

from collections import OrderedDict
from typing import Final

import msgspec

from ai_gateway.wire.usage import Usage

FIRST_TOKENS_PER_BYTE: Final = 0.25  # of a request body: four letters a token
FIRST_OUTPUT_TOKENS: Final = 256.0
FIRST_BYTES_PER_TOKEN: Final = 200.0  # of a stream: each token comes in an event of its own
# A body may hold an image of megabytes, which is a few hundred tokens: no call is thought to be longer than this.
MOST_PROMPT_TOKENS: Final = 32_768
WEIGHT: Final = 0.1  # of the newest call in the moving averages
MOST_MODELS: Final = 1000


class Guess(msgspec.Struct, frozen=True):
    """Tokens that a call may take."""

    prompt: int
    output: int

    @property
    def tokens(self) -> int:
        """All of them."""
        return self.prompt + self.output


class _Habit:
    """What calls of a model took, as moving averages (EWMA)."""

    __slots__ = ("bytes_per_token", "output_tokens", "tokens_per_byte")

    def __init__(self) -> None:
        self.tokens_per_byte = FIRST_TOKENS_PER_BYTE
        self.output_tokens = FIRST_OUTPUT_TOKENS
        self.bytes_per_token = FIRST_BYTES_PER_TOKEN


class Estimates:
    """By model. Changed by `learn`."""

    def __init__(self) -> None:
        self._habits: OrderedDict[str, _Habit] = OrderedDict()

    def guess(self, model: str, body_bytes: int, token_limit: int | None, *, writes: bool = True) -> Guess:
        """For a body of so many bytes. `token_limit` is the answer's; a call that `writes` none has no output."""
        habit = self._habit(model)
        prompt = min(int(body_bytes * habit.tokens_per_byte) + 1, MOST_PROMPT_TOKENS)
        if not writes:
            return Guess(prompt, 0)
        return Guess(prompt, int(habit.output_tokens) + 1 if token_limit is None else token_limit)

    def learn(self, model: str, body_bytes: int, usage: Usage, stream_bytes: int | None) -> None:
        """What a call took; `stream_bytes` went to the client, None where the answer was no whole stream."""
        habit = self._habit(model)
        if usage.input_tokens > 0 and body_bytes:
            habit.tokens_per_byte += WEIGHT * (usage.input_tokens / body_bytes - habit.tokens_per_byte)
        if usage.output_tokens > 0:
            habit.output_tokens += WEIGHT * (usage.output_tokens - habit.output_tokens)
            if stream_bytes:
                habit.bytes_per_token += WEIGHT * (stream_bytes / usage.output_tokens - habit.bytes_per_token)

    def passed(self, model: str, stream_bytes: int) -> int:
        """How many tokens a stream had brought, of which so many bytes went to the client before it was cut."""
        return round(stream_bytes / self._habit(model).bytes_per_token)

    def _habit(self, model: str) -> _Habit:
        habit = self._habits.get(model)
        if habit is None:
            if len(self._habits) >= MOST_MODELS:
                self._habits.popitem(last=False)
            habit = self._habits[model] = _Habit()
        return habit
