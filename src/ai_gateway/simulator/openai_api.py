"""The routes of /v1. Each takes a `Call` and writes its answer, or raises `Refusal`."""

from functools import partial

from ai_gateway.simulator import openai_asks
from ai_gateway.simulator.asks import Ask
from ai_gateway.simulator.composition import Composition
from ai_gateway.simulator.embedding import make_vectors
from ai_gateway.simulator.go_json import Fields, decode, encode
from ai_gateway.simulator.inference import Inference, break_before_head, find_model, ticket_for
from ai_gateway.simulator.models import Model
from ai_gateway.simulator.openai_answers import ChatWriter, CompletionWriter, OldChatWriter
from ai_gateway.simulator.outcome import Outcome
from ai_gateway.simulator.pod import JSON, Call, Handler, Pod
from ai_gateway.simulator.refusals import Refusal, not_found
from ai_gateway.simulator.vectors import as_base64, as_numbers
from ai_gateway.wire.operations import CHAT, COMPLETIONS, EMBEDDINGS, Operation


class OpenAIApi:
    """The OpenAI side of one pod."""

    def __init__(self, pod: Pod, inference: Inference) -> None:
        self._pod = pod
        self._inference = inference

    def answer_to(self, operation: Operation) -> Handler:
        """The handler of one of the gateway's operations; what Ollama itself does not have gets the row's example."""
        own = {CHAT: self.chat, COMPLETIONS: self.completion, EMBEDDINGS: self.embeddings}
        return own.get(operation) or partial(self._example, operation)

    async def chat(self, call: Call) -> None:
        """`POST /v1/chat/completions`."""
        ask = openai_asks.read_chat(call.request.body)
        if not ask.model:
            raise Refusal(400, "model is required")
        model = find_model(self._pod, ask.model)
        check_chat(ask, model)
        await self._inference.answer(call, ask, model, self._chat_writer(ask))

    async def completion(self, call: Call) -> None:
        """`POST /v1/completions`; an empty prompt loads the model."""
        ask = openai_asks.read_completion(call.request.body)
        model = find_model(self._pod, ask.model)
        check_generate(ask, model)
        pod = self._pod
        writer = CompletionWriter(ask.model, pod.next_number(), int(pod.clock()), ask.include_usage)
        if ask.messages:
            await self._inference.answer(call, ask, model, writer)
            return
        outcome = Outcome(done_reason=await self._inference.load(call, model, ask))
        if ask.stream:
            call.answer.start(writer.content_type)
            call.answer.send_each(writer.finish(outcome))
            call.answer.end()
        else:
            call.answer.whole(200, JSON, writer.whole(Composition((), (), (), 0, "load"), [], outcome))

    async def embeddings(self, call: Call) -> None:
        """`POST /v1/embeddings`."""
        ask = openai_asks.read_embedding(call.request.body)
        made = await make_vectors(self._pod, call, ask)
        if made is None:
            return
        form = as_base64 if ask.is_base64 else as_numbers
        data = [
            {"object": "embedding", "embedding": form(vector), "index": index}
            for index, vector in enumerate(made.vectors)
        ]
        usage = {"prompt_tokens": made.prompt_tokens, "total_tokens": made.prompt_tokens}
        self._whole(call, {"object": "list", "data": data, "model": ask.model, "usage": usage})

    async def models(self, call: Call) -> None:
        """`GET /v1/models`; `data` is null if there are none."""
        data = [_model_card(model.name.short, model) for model in self._pod.store.listed()]
        self._whole(call, {"object": "list", "data": data or None})

    async def model(self, call: Call) -> None:
        """`GET /v1/models/:model`, one path segment."""
        written = call.request.path.removeprefix("/v1/models/")
        model = self._pod.store.find(written)
        if model is None:
            raise not_found(written)
        self._whole(call, _model_card(written, model))

    async def _example(self, operation: Operation, call: Call) -> None:
        fields = Fields(decode(call.request.body), operation.name)
        model = find_model(self._pod, fields.text(operation.model_field))
        async with self._pod.leasing.lease(ticket_for(self._pod, model, None, call.slowness)):
            if call.ending is not None:
                await break_before_head(call, call.ending)
            else:
                call.answer.whole(200, JSON, operation.example.answer)

    def _chat_writer(self, ask: Ask) -> ChatWriter:
        number, clock = self._pod.next_number(), self._pod.clock
        if self._pod.settings.dialect == "old":
            return OldChatWriter(ask.model, number, ask.include_usage, clock)
        return ChatWriter(ask.model, number, int(clock()), ask.include_usage)

    @staticmethod
    def _whole(call: Call, value: object) -> None:
        call.answer.whole(200, JSON, encode(value) + b"\n")


def check_chat(ask: Ask, model: Model) -> None:
    """Raises `Refusal` for a chat that the model cannot do. Any model can be unloaded."""
    if _only_unloads(ask):
        return
    if model.is_embedding:
        raise Refusal(400, f'"{ask.model}" does not support chat')
    if ask.tools and "tools" not in model.capabilities:
        raise Refusal(400, f"{model.name.long} does not support tools")
    _check_thinking(ask, model)


def check_generate(ask: Ask, model: Model) -> None:
    """Raises `Refusal` for a prompt that the model cannot do. Any model can be unloaded."""
    if _only_unloads(ask):
        return
    if model.is_embedding:
        raise Refusal(400, f'"{ask.model}" does not support generate')
    if ask.suffix and "insert" not in model.capabilities:
        raise Refusal(400, f"{model.name.long} does not support insert")
    _check_thinking(ask, model)


def _only_unloads(ask: Ask) -> bool:
    return not ask.messages and ask.keep_alive == 0


def _check_thinking(ask: Ask, model: Model) -> None:
    if ask.effort not in (None, "none") and "thinking" not in model.capabilities:
        raise Refusal(400, f'"{ask.model}" does not support thinking')


def _model_card(shown: str, model: Model) -> dict[str, object]:
    return {
        "id": shown,
        "object": "model",
        "created": int(model.modified_at),
        "owned_by": model.name.namespace,
    }
