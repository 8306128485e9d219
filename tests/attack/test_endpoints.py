"""What an endpoint says of itself without end: a real gateway stays small and quick, and says so in its health."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.attack.odd_endpoint import (
    BLOCK,
    MEBI,
    OK,
    asked,
    attacked,
    floods,
    gzip_answer,
    health,
    says,
    scrape,
    squeezed_blanks,
    tags,
    until_reason,
)
from tests.attack.table import Tried
from tests.flow.upstream import Act, Visit, whole
from tests.flow.waiting import until

MOST_BYTES = 110 * MEBI  # a gateway at rest has 45 to 60, and three polls of each endpoint run at a time
POLLS = 5
LOOKS = ("/api/version", "/api/tags", "/api/ps")


@pytest.mark.attack("endpoints", "polls answered with 600 MiB of blanks in gzip")
@pytest.mark.parametrize("path", LOOKS)
@pytest.mark.parametrize("before", [b"", b"content-encoding: identity\r\n", b"content-encoding:\r\n"])
async def test_a_compressed_answer_takes_no_memory(tmp_path: Path, tried: Tried, path: str, before: bytes) -> None:
    """Also where the line that says so is the second of its name."""
    bomb = gzip_answer(squeezed_blanks(600)).replace(b"content-encoding", before + b"content-encoding", 1)
    acts: dict[str, Act] = {path: lambda visit: visit.say(bomb)}
    async with attacked(tmp_path, acts) as (command, odd):
        await until(lambda: asked(odd, path) >= POLLS)
        await until_reason(command, "compressed")
        assert (await command.chat()).status == 200
        assert command.peak_bytes < MOST_BYTES
        tried.times = asked(odd, path)
        tried.figure(f"{command.peak_bytes // MEBI} MiB at most")
        assert command.log.count("compressed") <= 3


@pytest.mark.attack("endpoints", "polls answered with 800 MB of blanks")
@pytest.mark.parametrize("path", LOOKS)
async def test_a_plain_answer_without_end_takes_no_memory(tmp_path: Path, tried: Tried, path: str) -> None:
    begin = OK + b"content-type: application/json\r\n\r\n"
    async with attacked(tmp_path, {path: floods(begin, BLOCK, 800)}) as (command, odd):
        cpu = command.loop_cpu_seconds
        await until(lambda: asked(odd, path) >= POLLS)
        await until_reason(command, "larger than")
        assert (await command.chat()).status == 200
        assert command.peak_bytes < MOST_BYTES
        tried.times = asked(odd, path)
        tried.figure(f"{command.peak_bytes // MEBI} MiB at most")
        tried.figure(f"{(command.loop_cpu_seconds - cpu) / tried.times * 1000:.0f} ms of CPU each")


@pytest.mark.attack("endpoints", "a poll answered with 200,000 names")
@pytest.mark.parametrize("discover", [False, True])
@pytest.mark.parametrize("path", ["/api/tags", "/api/ps"])
async def test_too_many_names_are_none(tmp_path: Path, tried: Tried, path: str, discover: bool) -> None:
    many = tags(f"m{number}" for number in range(200_000))
    small = whole(b'{"models":[' + b",".join(b'{"name":"%d"}' % number for number in range(100_000)) + b"]}")
    says = [many, small]

    async def act(visit: Visit) -> None:
        says.reverse()
        await visit.say(says[0])

    async with attacked(tmp_path, {path: act}, catalog={"discover": discover}) as (command, odd):
        cpu = command.loop_cpu_seconds
        await until(lambda: asked(odd, path) >= 2 * POLLS)
        await until_reason(command, f"{path}")
        assert len(await scrape(command)) < MEBI
        assert (await command.ask("GET", "/v1/models")).status == 200
        tried.times = asked(odd, path)
        tried.figure(f"{(command.loop_cpu_seconds - cpu) / tried.times * 1000:.0f} ms of CPU each, all else included")
        assert command.loop_cpu_seconds - cpu < 0.1 * tried.times


@pytest.mark.attack("endpoints", "as many names as are taken, loaded and discovered")
async def test_the_most_names_that_are_taken_are_listed_quickly(tmp_path: Path, tried: Tried) -> None:
    listed = tags(f"registry.example.com/team/model-{number}:q4_K_M" for number in range(2000))
    acts: dict[str, Act] = {"/api/tags": lambda v: v.say(listed), "/api/ps": lambda v: v.say(listed)}
    async with attacked(tmp_path, acts, catalog={"discover": True}, polling={"interval": "5s"}) as (command, _):
        found = await health(command)
        assert found["complaint"] is None
        assert len(found["models"]) == 2000  # type: ignore[arg-type]  # a list
        for ask, most in ((lambda: health(command), 0.5), (lambda: scrape(command), 1.0)):
            cpu = command.loop_cpu_seconds
            await ask()
            spent = command.loop_cpu_seconds - cpu
            tried.figure(f"{spent * 1000:.0f} ms of CPU")
            assert spent < most


@pytest.mark.attack("endpoints", "other names with every poll, each of them called")
async def test_names_that_come_and_go_are_forgotten(tmp_path: Path, tried: Tried) -> None:
    round_ = 0

    async def act(visit: Visit) -> None:
        nonlocal round_
        round_ += 1
        await visit.say(tags([f"r{round_}-{number}" for number in range(500)] + ["llama3:latest"]))

    polling = {"interval": "30ms", "models_interval": "30ms"}
    async with attacked(tmp_path, {"/api/tags": act}, catalog={"discover": True}, polling=polling) as (command, odd):
        await until(lambda: asked(odd, "/api/tags") >= 5)
        sizes, peaks = [], []
        for _ in range(6):
            seen = asked(odd, "/api/tags")
            await until(lambda seen=seen: asked(odd, "/api/tags") >= seen + 8, seconds=30)  # type: ignore[misc]
            await command.chat(model=f"r{round_}-7")
            sizes.append(len(await scrape(command)))
            peaks.append(command.peak_bytes)
        tried.times = round_
        tried.figure(f"{(peaks[-1] - peaks[2]) // MEBI} MiB more after {500 * (round_ - 5)} names")
        assert max(sizes) < 3 * min(sizes)
        assert peaks[-1] - peaks[2] < 24 * MEBI


@pytest.mark.attack("endpoints", "/api/show with 600 MiB of blanks, plain and in gzip, and details without end")
@pytest.mark.parametrize("what", ["gzip", "plain", "a redirect to nowhere", "capabilities", "facts"])
async def test_details_take_no_memory(tmp_path: Path, tried: Tried, what: str) -> None:
    saying: dict[str, Callable[[], Act]] = {
        "gzip": lambda: says(gzip_answer(squeezed_blanks(600))),
        "plain": lambda: floods(OK + b"\r\n", BLOCK, 600),
        "a redirect to nowhere": lambda: says(whole(b"", "302 Found", ["location: mailto:a"])),
        "capabilities": lambda: says(whole(json.dumps({"capabilities": ["x" * 60] * 30_000}).encode())),
        "facts": lambda: says(
            whole(json.dumps({"model_info": {f"k{number}": number for number in range(100_000)}}).encode())
        ),
    }
    acts: dict[str, Act] = {"/api/show": saying[what](), "/api/version": says(whole(b'{"version":"1"}'))}
    async with attacked(tmp_path, acts) as (command, odd):
        await until(lambda: asked(odd, "/api/version") > 2)
        for _ in range(POLLS):
            reply = await command.ask("GET", "/v1/models/llama3")
            assert (reply.status, reply.json["capabilities"]) == (200, [])
        assert command.peak_bytes < MOST_BYTES
        tried.times = POLLS
        tried.figure(f"{command.peak_bytes // MEBI} MiB at most")
