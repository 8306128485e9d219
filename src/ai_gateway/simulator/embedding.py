"""Answers embedding requests: one slot for the whole batch, then vectors made from the texts."""

import asyncio
from dataclasses import dataclass

from ai_gateway.simulator.asks import EmbedAsk, token_count
from ai_gateway.simulator.inference import break_before_head, find_model, ticket_for
from ai_gateway.simulator.models import Model
from ai_gateway.simulator.pod import Call, Pod
from ai_gateway.simulator.refusals import Refusal
from ai_gateway.simulator.vectors import embed, shortened

NO_EMBEDDINGS = "This server does not support embeddings. Start it with `--embeddings`"


@dataclass(frozen=True, slots=True)
class Vectors:
    """One vector for each text, in order; times in seconds."""

    vectors: tuple[list[float], ...]
    prompt_tokens: int
    load_seconds: float
    total_seconds: float


async def make_vectors(pod: Pod, call: Call, ask: EmbedAsk) -> Vectors | None:
    """The vectors, or None if a fault has ended the connection. Raises `Refusal`."""
    loop = asyncio.get_running_loop()
    asked_at = loop.time()
    model = _model(pod, ask)
    ticket = ticket_for(pod, model, ask.context_length, call.slowness)
    ticket.keep_alive = ask.keep_alive
    counts = [token_count(text) for text in ask.texts]
    if not ask.truncates and max(counts, default=0) > ticket.context_length:
        raise Refusal(400, "the input length exceeds the context length")
    tokens = sum(min(count, ticket.context_length) for count in counts)
    async with pod.leasing.lease(ticket):
        granted_at = loop.time()
        await asyncio.sleep(tokens * pod.settings.prefill_seconds_per_token * call.slowness)
        if call.ending is not None:
            await break_before_head(call, call.ending)
            return None
        length = pod.settings.embedding_length
        made = tuple(shortened(embed(text, model.weights, length), ask.dimensions) for text in ask.texts)
        return Vectors(made, tokens, granted_at - asked_at, loop.time() - asked_at)


def _model(pod: Pod, ask: EmbedAsk) -> Model:
    try:
        model = find_model(pod, ask.model)
    except Refusal as refusal:
        if refusal.status != 404 or not ask.model:
            raise
        raise Refusal(404, f'model "{ask.model}" not found, try pulling it first') from refusal
    if ask.texts and not model.is_embedding and pod.settings.dialect == "new":  # without texts it only loads
        raise Refusal(501, NO_EMBEDDINGS)
    return model
