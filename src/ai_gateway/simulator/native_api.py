"""The routes of /api that infer or read: generate, chat, embed, tags, ps, show, version, status."""

from typing import Any, Literal

from ai_gateway.simulator import native_asks
from ai_gateway.simulator.asks import Ask
from ai_gateway.simulator.durations import rfc3339
from ai_gateway.simulator.embedding import make_vectors
from ai_gateway.simulator.inference import Inference, find_model
from ai_gateway.simulator.modelfile import modelfile, parameters_text
from ai_gateway.simulator.models import Model
from ai_gateway.simulator.native_answers import NativeWriter
from ai_gateway.simulator.openai_api import check_chat, check_generate
from ai_gateway.simulator.outcome import NANOSECONDS
from ai_gateway.simulator.pod import Call, Pod
from ai_gateway.simulator.refusals import Refusal
from ai_gateway.simulator.runner import Runner
from ai_gateway.simulator.vectors import as_numbers


class NativeApi:
    """Ollama's own API of one pod, without the routes that change the store."""

    def __init__(self, pod: Pod, inference: Inference) -> None:
        self._pod = pod
        self._inference = inference
        self._clock_ahead: float | None = None  # of Unix time before the scheduler's clock

    async def root(self, call: Call) -> None:
        """`GET /`."""
        call.answer.whole(200, "text/plain; charset=utf-8", b"Ollama is running")

    async def version(self, call: Call) -> None:
        """`GET /api/version`."""
        call.reply({"version": self._pod.settings.reported_version})

    async def status(self, call: Call) -> None:
        """`GET /api/status`: cloud models are off."""
        call.reply({"cloud": {"disabled": True, "source": "env"}})

    async def tags(self, call: Call) -> None:
        """`GET /api/tags`: the local models."""
        is_new = self._pod.settings.dialect == "new"
        call.reply({"models": [_tag(model, is_new) for model in self._pod.store.listed()]})

    async def ps(self, call: Call) -> None:
        """`GET /api/ps`: the loaded models, the latest expiry first."""
        call.reply({"models": [self._loaded(runner) for runner in self._pod.leasing.scheduler.listed()]})

    async def show(self, call: Call) -> None:
        """`POST /api/show`."""
        fields = native_asks.read_native(call.request.body, "api.ShowRequest")
        written = fields.text("model") or fields.text("name")
        if not written:
            raise Refusal(400, "model is required")
        call.reply(_shown(find_model(self._pod, written)))

    async def generate(self, call: Call) -> None:
        """`POST /api/generate`."""
        ask = native_asks.read_generate(call.request.body)
        model = find_model(self._pod, ask.model)
        check_generate(ask, model)
        await self._answer(call, ask, model, "generate")

    async def chat(self, call: Call) -> None:
        """`POST /api/chat`."""
        ask = native_asks.read_chat(call.request.body)
        if not ask.model:
            raise Refusal(400, "model is required")
        model = find_model(self._pod, ask.model)
        check_chat(ask, model)
        await self._answer(call, ask, model, "chat")

    async def embed(self, call: Call) -> None:
        """`POST /api/embed`; without input it loads the model, or with `keep_alive: 0` unloads it."""
        ask = native_asks.read_embed(call.request.body)
        made = await make_vectors(self._pod, call, ask)
        if made is None:
            return
        answer: dict[str, Any] = {"model": ask.model, "embeddings": [as_numbers(v) for v in made.vectors]}
        if made.vectors:
            answer["total_duration"] = int(made.total_seconds * NANOSECONDS) + 1
            answer["load_duration"] = int(made.load_seconds * NANOSECONDS) + 1
            answer["prompt_eval_count"] = made.prompt_tokens
        call.reply(answer)

    async def embeddings(self, call: Call) -> None:
        """`POST /api/embeddings`: one prompt, one vector."""
        made = await make_vectors(self._pod, call, native_asks.read_embeddings(call.request.body))
        if made is not None:
            call.reply({"embedding": as_numbers(made.vectors[0]) if made.vectors else []})

    async def _answer(self, call: Call, ask: Ask, model: Model, form: Literal["chat", "generate"]) -> None:
        if ask.messages:
            await self._inference.answer(call, ask, model, NativeWriter(ask.model, form, self._pod.clock))
            return
        reason = await self._inference.load(call, model, ask)
        text: dict[str, Any] = {"response": ""}
        if form == "chat":
            text = {"message": {"role": "assistant", "content": ""}}
        created_at = rfc3339(self._pod.clock())
        call.reply({"model": ask.model, "created_at": created_at, **text, "done": True, "done_reason": reason})

    def _loaded(self, runner: Runner) -> dict[str, Any]:
        """One row of /api/ps: the model as it was when it was loaded, whatever became of its name."""
        loaded = runner.starter
        now = self._pod.leasing.now()
        if self._clock_ahead is None:  # read once: as in Ollama, the expiry of an idle model stands still
            self._clock_ahead = self._pod.clock() - now
        return {
            "name": loaded.name,
            "model": loaded.name,
            "size": runner.size_bytes,
            "digest": loaded.digest,
            "details": loaded.details,
            "expires_at": rfc3339(self._clock_ahead + runner.shown_expiry(now)),
            "size_vram": runner.size_bytes,
            "context_length": runner.context_length,
        }


def _tag(model: Model, is_new: bool) -> dict[str, Any]:
    """One row of /api/tags; older versions have fewer fields."""
    lengths = {"context_length": model.context_length, "embedding_length": model.embedding_length}
    return {
        "name": model.name.short,
        "model": model.name.short,
        "modified_at": rfc3339(model.modified_at),
        "size": model.size_bytes,
        "digest": model.digest,
        "details": {**model.details(), **(lengths if is_new else {})},
        **({"capabilities": list(model.capabilities)} if is_new else {}),
    }


def _shown(model: Model) -> dict[str, Any]:
    architecture = "bert" if model.is_embedding else model.family
    shown: dict[str, Any] = {"modelfile": modelfile(model), "template": model.template}
    parameters = parameters_text(model)
    shown |= {"parameters": parameters} if parameters else {}
    shown |= {"system": model.system} if model.system else {}
    return {
        **shown,
        "details": model.details(),
        "model_info": {
            "general.architecture": architecture,
            f"{architecture}.context_length": model.context_length,
            f"{architecture}.embedding_length": model.embedding_length,
        },
        "capabilities": list(model.capabilities),
        "modified_at": rfc3339(model.modified_at),
    }
