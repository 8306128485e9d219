"""Each parameter of config.yml and the system message take effect on a real Ollama, and what a change of them loads."""

from typing import Any

import pytest
from tests.ollama.rollouts import Disk, Rollouts
from tests.ollama.talk import ask, chat, until

pytestmark = pytest.mark.ollama

SAME = {"temperature": 0}  # the text depends on nothing but the prompt then


async def text(rollouts: Rollouts, **more: Any) -> str:
    """What `coder` answers."""
    content = (await chat(rollouts.client, ask("coder", "hello world", max_tokens=8, **more)))["choices"][0]["message"]
    return str(content["content"])


async def started(rollouts: Rollouts, parameters: dict[str, Any] | None = None, **more: Any) -> None:
    """`coder` is in place with these parameters."""
    rollouts.publisher.publish(f"{rollouts.registry.name('tiny')}:v1")
    await rollouts.start({"coder": rollouts.model("tiny", "v1", parameters=parameters or {}, **more)})
    await rollouts.until_in_place("coder")


async def shape(rollouts: Rollouts, parameters: dict[str, Any], **more: Any) -> None:
    """An edit of the parameters; returns when it is in place and loaded."""
    before = await rollouts.served("coder")
    rollouts.edit({"coder": rollouts.model("tiny", "v1", parameters=parameters, **more)})

    async def is_another() -> bool:
        return await rollouts.served("coder") != before

    await until(is_another)
    await rollouts.until_in_place("coder")


async def test_sampling_parameters_take_effect_unless_a_call_brings_its_own(rollouts: Rollouts) -> None:
    """Without them the text differs from call to call, since Ollama's own temperature through /v1 is 1."""
    await started(rollouts)
    assert len({await text(rollouts) for _ in range(3)}) > 1
    disk = Disk(rollouts.ollamas[0])
    for parameters in (
        {"temperature": 0},
        {"top_p": 0.001},
        {"top_k": 1},
        {"min_p": 1.0},
        {"seed": 7},
    ):
        await shape(rollouts, parameters)
        assert len({await text(rollouts) for _ in range(3)}) == 1, parameters
    await shape(rollouts, {"temperature": 0})
    assert len({await text(rollouts, temperature=1.5) for _ in range(3)}) > 1
    assert rollouts.ollamas[0].loads == 1
    assert len(disk.loaded) == 1


async def test_what_ends_an_answer_takes_effect(rollouts: Rollouts) -> None:
    await started(rollouts, SAME)
    whole = await text(rollouts)
    word = whole.split()[3]
    await shape(rollouts, {**SAME, "stop": [word]})
    assert await text(rollouts) == whole[: whole.index(word)]
    await shape(rollouts, {**SAME, "num_predict": 4})
    answer = await chat(rollouts.client, ask("coder"))
    assert (answer["usage"]["completion_tokens"], answer["choices"][0]["finish_reason"]) == (4, "length")
    assert await text(rollouts) == whole
    assert rollouts.ollamas[0].loads == 1


async def test_penalties_take_effect(rollouts: Rollouts) -> None:
    """Each makes another text of what is the same without it."""
    await started(rollouts, {**SAME, "repeat_penalty": 1.0})
    plain = await text(rollouts)
    texts = {}
    for name, value in (("repeat_penalty", 50.0), ("presence_penalty", 50.0), ("frequency_penalty", 50.0)):
        await shape(rollouts, {**SAME, "repeat_penalty": 1.0, name: value})
        texts[name] = await text(rollouts)
    assert {name for name, one in texts.items() if one == plain} == set()
    await shape(rollouts, {**SAME, "repeat_penalty": 50.0, "repeat_last_n": 0})
    assert await text(rollouts) == plain


async def test_a_system_message_counts_only_for_calls_without_their_own(rollouts: Rollouts) -> None:
    """And it shares the runner, so nothing is loaded."""

    async def tokens(*messages: tuple[str, str]) -> int:
        said = [{"role": role, "content": content} for role, content in messages]
        answer = await chat(rollouts.client, {"model": "coder", "messages": said, "max_tokens": 1})
        return int(answer["usage"]["prompt_tokens"])

    await started(rollouts)
    alone = await tokens(("user", "hello"))
    own = await tokens(("system", "bread"), ("user", "hello"))
    await shape(rollouts, {}, system="the river and the mountain and the house")
    assert await tokens(("user", "hello")) > own > alone
    assert await tokens(("system", "bread"), ("user", "hello")) == own
    assert rollouts.ollamas[0].loads == 1


async def test_another_context_is_loaded_and_seen(rollouts: Rollouts) -> None:
    """The one runner that Ollama has for a file is reloaded; calls that come meanwhile are answered."""
    await started(rollouts, {"num_ctx": 256})
    await text(rollouts)
    disk = Disk(rollouts.ollamas[0])
    assert [one["context_length"] for one in disk.loaded.values()] == [256]
    await shape(rollouts, {"num_ctx": 1024})
    await rollouts.until_in_place("coder", loaded=True)
    assert [one["context_length"] for one in disk.loaded.values()] == [1024]
    loads = rollouts.ollamas[0].loads
    await text(rollouts)
    assert rollouts.ollamas[0].loads == loads == 2


async def test_another_option_of_the_runner_is_loaded_before_calls_go_there(rollouts: Rollouts) -> None:
    """Ollama has one runner for a file, with one number of threads: it is reloaded for another."""
    await started(rollouts)
    await text(rollouts)
    await shape(rollouts, {"num_batch": 64})
    await rollouts.until_in_place("coder", loaded=True)
    loads = rollouts.ollamas[0].loads
    await text(rollouts)
    assert rollouts.ollamas[0].loads == loads == 2
