"""From a request to a finished answer: find the model, wait for a slot, read the prompt, write token by token."""

import asyncio
from dataclasses import dataclass

from ai_gateway.simulator.asks import Ask, token_count
from ai_gateway.simulator.composition import Composition, Voice, compose
from ai_gateway.simulator.faults import Fault
from ai_gateway.simulator.go_json import encode
from ai_gateway.simulator.models import Model
from ai_gateway.simulator.names import is_cloud, parse_name
from ai_gateway.simulator.outcome import NANOSECONDS, Outcome, Piece, Writer, pieces_of
from ai_gateway.simulator.pacing import Pacing
from ai_gateway.simulator.pod import Call, Pod, forever
from ai_gateway.simulator.refusals import RUNNER_STOPPED, CloudRefusal, Refusal, not_found
from ai_gateway.simulator.runner import Ticket

ARRIVAL_SECONDS = 0.02  # before a reset, so that the bytes before it arrive: a reset overtakes them


def find_model(pod: Pod, written: str) -> Model:
    """The model that a client names. Raises `Refusal` 404, 400 for an invalid name, 403 for a cloud model."""
    if is_cloud(written):
        raise CloudRefusal
    if not written:
        raise not_found(written)
    if parse_name(written) is None:
        raise Refusal(400, "invalid model name")
    model = pod.store.find(written)
    if model is None:
        raise not_found(written)
    return model


def ticket_for(pod: Pod, model: Model, ask_length: int | None, slowness: float) -> Ticket:
    """The scheduler's ticket for a request; `ask_length` is the request's num_ctx."""
    settings = pod.settings
    return Ticket(
        name=model.name.short,
        weights=model.weights,
        size_bytes=model.size_bytes,
        slots=1 if model.is_embedding else settings.slots,
        load_seconds=settings.load_seconds * slowness,
        context_length=min(ask_length or model.loads_with or settings.context_length, model.context_length),
        digest=model.digest,
        details=model.details(),
    )


@dataclass(slots=True)
class Work:
    """One answer in progress. Its fields are filled as time passes; times are of the event loop's clock."""

    call: Call
    ask: Ask
    model: Model
    writer: Writer
    ticket: Ticket
    composition: Composition
    pieces: list[Piece]
    asked_at: float = 0.0
    granted_at: float = 0.0
    first_at: float = 0.0

    def outcome(self, now: float) -> Outcome:
        """The outcome if it ended now."""
        return Outcome(
            done_reason=self.composition.done_reason,
            prompt_tokens=min(token_count(self.ask.prompt), self.ticket.context_length),
            completion_tokens=self.composition.completion_tokens,
            total_ns=int((now - self.asked_at) * NANOSECONDS) + 1,
            load_ns=int((self.granted_at - self.asked_at) * NANOSECONDS) + 1,
            prompt_ns=int((self.first_at - self.granted_at) * NANOSECONDS) + 1,
            eval_ns=int((now - self.first_at) * NANOSECONDS) + 1,
        )


class Inference:
    """Makes the text answers of one pod."""

    def __init__(self, pod: Pod) -> None:
        self._pod = pod
        self._loop = asyncio.get_running_loop()

    async def answer(self, call: Call, ask: Ask, model: Model, writer: Writer) -> None:
        """Answers in full, or raises `Refusal` before the first byte."""
        work = self._plan(call, ask, model, writer)
        self._pod.ledger.cold += not self._pod.leasing.scheduler.is_warm(work.ticket)
        async with self._pod.leasing.lease(work.ticket) as ticket:
            work.granted_at = self._loop.time()
            await asyncio.sleep(self._prefill_seconds(work))
            work.first_at = self._loop.time()
            await self._generate(work)
            ticket.prompt += f"<|assistant|>{''.join(work.composition.content)}\n"

    async def load(self, call: Call, model: Model, ask: Ask) -> str:
        """A request without a prompt: loads the model, or unloads it. Returns the answer's done reason."""
        if ask.keep_alive == 0:
            self._pod.leasing.unload(model.weights)
            return "unload"
        ticket = ticket_for(self._pod, model, ask.context_length, call.slowness)
        ticket.keep_alive = ask.keep_alive
        async with self._pod.leasing.lease(ticket):
            return "load"

    def _plan(self, call: Call, ask: Ask, model: Model, writer: Writer) -> Work:
        settings = self._pod.settings
        ticket = ticket_for(self._pod, model, ask.context_length, call.slowness)
        ticket.keep_alive = ask.keep_alive
        ticket.prompt = ask.prompt
        if settings.dialect == "new":  # older ones silently cut the message
            _check_length(ask, ticket.context_length)
        thinks = "thinking" in model.capabilities
        composition = compose(ask, Voice(model.name.short, thinks, settings.answer_tokens, settings.seed))
        pieces = pieces_of(composition, ask.logprobs, ask.top_logprobs)
        return Work(call, ask, model, writer, ticket, composition, pieces, asked_at=self._loop.time())

    def _prefill_seconds(self, work: Work) -> float:
        tokens = token_count(work.ask.prompt) - work.ticket.cached_characters // 4
        return max(tokens, 1) * self._pod.settings.prefill_seconds_per_token * work.call.slowness

    async def _generate(self, work: Work) -> None:
        ending = work.call.ending
        count = len(work.pieces) if ending is None else min(ending.after_tokens, len(work.pieces))
        interval = self._pod.settings.seconds_per_token * work.call.slowness
        if not work.ask.stream:
            await asyncio.sleep(count * interval)
            await self._write_whole(work, ending)
            return
        work.call.answer.start(work.writer.content_type)
        await self._pace(work, count, interval)
        if ending is None:
            self._finish(work)
        else:
            await break_off(work.call, ending, work.writer.broken(RUNNER_STOPPED))

    async def _pace(self, work: Work, count: int, interval: float) -> None:
        answer, writer, pieces = work.call.answer, work.writer, work.pieces

        def emit(first: int, last: int) -> None:
            records = [record for piece in pieces[first:last] for record in writer.piece(piece)]
            if records:
                answer.send_each(records)

        await Pacing(count, interval, emit, answer).run()

    def _finish(self, work: Work) -> None:
        calls = work.composition.tool_calls
        records = work.writer.calls(calls) if calls else []
        records += work.writer.finish(work.outcome(self._loop.time()))
        work.call.answer.send_each(records)
        work.call.answer.end()

    async def _write_whole(self, work: Work, ending: Fault | None) -> None:
        outcome = work.outcome(self._loop.time())
        if ending is not None and ending.kind == "loop_guard":
            outcome = Outcome(done_reason=None)
        elif ending is not None:
            await break_before_head(work.call, ending)
            return
        body = work.writer.whole(work.composition, work.pieces, outcome)
        work.call.answer.whole(200, work.writer.whole_type, body)


async def break_off(call: Call, ending: Fault, last_words: list[bytes]) -> None:
    """Ends a running stream as a fault requires."""
    match ending.kind:
        case "cut":
            await asyncio.sleep(ARRIVAL_SECONDS)
            call.answer.reset()
        case "eof":
            call.answer.close()
        case "stall":
            await forever()
        case "truncate":
            call.answer.send_each(last_words)
            call.answer.end()
        case _:
            call.answer.end()


async def break_before_head(call: Call, ending: Fault) -> None:
    """Ends an answer that is not streamed as a fault requires: nothing has been sent yet."""
    match ending.kind:
        case "cut":
            call.answer.reset()
        case "stall":
            await forever()
        case "truncate" | "loop_guard":
            raise Refusal(500, RUNNER_STOPPED)
        case _:
            call.answer.close()


def _check_length(ask: Ask, context_length: int) -> None:
    """Raises `Refusal` only if the last message alone is too long; Ollama silently drops older messages."""
    tokens = token_count(ask.messages[-1].text) if ask.messages else 0
    if tokens <= context_length:
        return
    size = f"the available context size ({context_length} tokens)"
    problem = {
        "code": 400,
        "message": f"request ({tokens} tokens) exceeds {size}, try increasing it",
        "type": "exceed_context_size_error",
        "n_prompt_tokens": tokens,
        "n_ctx": context_length,
    }
    raise Refusal(400, encode({"error": problem}).decode())
