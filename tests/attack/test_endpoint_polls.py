"""What an endpoint says of itself that is nonsense, or no Ollama's: it is said, and passed over."""

from pathlib import Path

import pytest
from tests.attack.odd_endpoint import OK, asked, attacked, health, scrape, until_reason
from tests.attack.table import Tried
from tests.flow.upstream import Act, Visit, whole
from tests.flow.waiting import until

POLLS = 5

ODD_TAGS: dict[str, bytes] = {
    "wrong types": b'{"models":[{"name":7},{"name":null},{"name":["x"]},7,null,[],"x"]}',
    "NaN": b'{"models":[{"name":"x","size":NaN}]}',
    "a number of 5,000 digits": b'{"models":[{"name":"x","size":%b,"digest":%b}]}' % (b"9" * 5000, b"9" * 5000),
    "deep nesting": b'{"models":' + b"[" * 500_000 + b"]" * 500_000 + b"}",
    "the same name again": b'{"models":[' + b",".join([b'{"name":"x","digest":"1"}'] * 500) + b"]}",
    "no name": b'{"models":[{"name":""},{"digest":"x"},{}]}',
    "control characters": b'{"models":[{"name":"x\\u0000\\u001b[31m","digest":"\\u0007"}]}',
    "a name of a million letters": b'{"models":[{"name":"' + b"x" * 1_000_000 + b'"}]}',
    "invalid UTF-8": b'{"models":[{"name":"\xff\xfe"}]}',
    "UTF-16": '{"models":[]}'.encode("utf-16"),
    "a million numbers": b'{"models":[' + b"1," * 900_000 + b"1]}",
    "keys without end": b'{"models":[],' + b",".join(b'"k%d":1' % number for number in range(150_000)) + b"}",
    "a list of models in a model": b'{"models":[{"models":[{"name":"x"}]}]}',
    "HTML": b"<html>" * 1000,
    "nothing": b"",
}


@pytest.mark.attack("endpoints", "polls answered with nonsense")
@pytest.mark.parametrize("what", ODD_TAGS)
async def test_nonsense_in_a_poll_is_said_and_passed_over(tmp_path: Path, tried: Tried, what: str) -> None:
    said = whole(ODD_TAGS[what])
    acts: dict[str, Act] = {"/api/tags": lambda visit: visit.say(said), "/api/ps": lambda visit: visit.say(said)}
    async with attacked(tmp_path, acts) as (command, odd):
        cpu = command.loop_cpu_seconds
        await until(lambda: asked(odd, "/api/tags") >= POLLS and asked(odd, "/api/ps") >= POLLS)
        found = await health(command)
        assert (found["state"], found["address"]) == ("up", odd.url)
        assert (found["complaint"] is None) == (what == "a number of 5,000 digits"), found
        assert (await command.chat()).status == 200
        assert b"\x1b" not in await scrape(command)
        tried.times = len(odd.looks)
        assert command.loop_cpu_seconds - cpu < 0.1 * tried.times
        assert command.log.count("WARN") <= 6, command.log
        assert "Traceback" not in command.log


ODD_PROBES: dict[str, tuple[bytes, str]] = {
    "a redirect": (whole(b"", "302 Found", ["location: http://169.254.169.254/"]), "answered 302"),
    "a redirect to nowhere": (whole(b"", "302 Found", ["location: javascript:1"]), "answered 302"),
    "a redirect to a bad name": (whole(b"", "302 Found", ["location: http://xn--/"]), "answered 302"),
    "cookies": (whole(b"", "500 No", ["set-cookie: a=b; expires=Thu, 99-Xyz-99999 99:99:99 GMT"]), "answered 500"),
    "204": (b"HTTP/1.1 204 No Content\r\n\r\n", "answered 204"),
    "HTTP/0.9": (b'{"version":"0.24.0"}', "not an HTTP answer"),
    "TLS": (b"\x15\x03\x01\x00\x02\x02\x0a" * 3, "not an HTTP answer"),
    "HTTP/2": (b"\x00\x00\x12\x04\x00\x00\x00\x00\x00" + b"\x00" * 18, "not an HTTP answer"),
    "SSH": (b"SSH-2.0-OpenSSH_9.6\r\n\r\n", "not an HTTP answer"),
    "a version of a million letters": (whole(b'{"version":"' + b"9" * 1_000_000 + b'"}'), "is this an Ollama?"),
    "a version with an escape in it": (whole(b'{"version":"\\u001b[2J"}'), "is this an Ollama?"),
    "a switch of protocols": (b"HTTP/1.1 101 Go\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n", "not an HTTP answer"),
    "lengths that differ": (OK + b"content-length: 2\r\ncontent-length: 3\r\n\r\n{}x", "not an HTTP answer"),
}


@pytest.mark.attack("endpoints", "probes answered by another protocol, or with a version that is none")
@pytest.mark.parametrize("what", ODD_PROBES)
async def test_what_is_no_ollama_is_down_and_says_why(tmp_path: Path, tried: Tried, what: str) -> None:
    said, words = ODD_PROBES[what]

    async def act(visit: Visit) -> None:
        await visit.say(said)
        visit.hang_up()

    async with attacked(tmp_path, {"/api/version": act}) as (command, odd):
        await until_reason(command, words)
        assert (await health(command))["state"] == "down"
        assert (await command.chat()).status == 200
        tried.times = asked(odd, "/api/version")
        assert "\x1b" not in command.log


@pytest.mark.attack("endpoints", "an answer with HTTP/1.0, without a length")
async def test_an_old_server_is_read_to_its_end(tmp_path: Path) -> None:
    async def act(visit: Visit) -> None:
        await visit.say(b"HTTP/1.0 200 OK\r\n\r\n", b'{"version":', b'"0.24.0"}')
        visit.hang_up()

    async with attacked(tmp_path, {"/api/version": act}) as (command, _):
        assert (await health(command))["state"] == "up"
