"""Files that a config names: late, locked, spoiled, or no files; and what `check` lets through."""

import asyncio
import fcntl
import os
import ssl
import subprocess
import sys
import termios
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.attack.command import Command, serving
from tests.attack.holding import callbacks_timed
from tests.attack.table import Tried
from tests.config.pem_files import encrypt, write_ca, write_pair
from tests.cost import TRIES, slowness
from tests.flow.line import Line
from tests.flow.waiting import soon, until
from tests.flow.world import World, config

from ai_gateway.upstream.client import Client

PAIR = ("tls.crt", "tls.key")


async def checked(folder: Path, content: Any, *, has_terminal: bool = False, **variables: str) -> tuple[int, str]:
    """Exit status and words of `ai-gateway check`."""
    path = folder / "checked.yml"
    path.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
    command = [sys.executable, "-m", "ai_gateway", "check", str(path)]
    parent, child = os.openpty() if has_terminal else (None, None)

    def take_terminal() -> None:
        os.setsid()
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)

    def run() -> tuple[int, str]:
        ended = subprocess.run(
            command,
            stdin=subprocess.DEVNULL if child is None else child,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**os.environ, **variables},
            preexec_fn=None if child is None else take_terminal,
            timeout=30,
            check=False,
        )
        return ended.returncode, ended.stdout.decode()

    try:
        return await asyncio.to_thread(run)
    finally:
        for number in (parent, child):
            if number is not None:
                os.close(number)


async def alive(command: Command) -> None:
    line = await Line.open(command.admin_port)
    await line.send("GET", "/livez")
    assert (await soon(line.reply(), 5)).status == 200
    line.leave()


def tls(folder: Path) -> dict[str, str]:
    return {"certificate": str(folder / PAIR[0]), "key": str(folder / PAIR[1])}


@pytest.mark.attack("files", "a certificate that comes after the start")
async def test_a_late_certificate_is_taken(world: World) -> None:
    """The gateway leaves to be started anew with HTTPS, since it has bound its port in plain; nothing is served."""
    simulator = await world.simulator()
    told = config(simulator.urls, tls=tls(world.folder))
    async with serving(world.folder, told) as command:
        assert (await command.chat()).status == 503
        assert "tls.certificate: there is no file" in command.log
        write_pair(world.folder)
        assert await soon(command.process.wait(), 20) == 0
        assert "the gateway exits for it" in command.log
    async with serving(world.folder, told) as command:
        assert "https://127.0.0.1" in command.log


@pytest.mark.attack("files", "a CA, a token or a password that comes after the start, and after a reload")
@pytest.mark.parametrize("key", ["static ca_file", "oidc ca_file", "oidc token_file", "redis password_file"])
async def test_a_late_file_is_taken(world: World, key: str, tried: Tried) -> None:
    simulator = await world.simulator()
    file = world.folder / "late"
    oidc = {"issuer": "https://issuer.example", "audience": "a", key.removeprefix("oidc "): str(file)}
    sections: dict[str, dict[str, Any]] = {
        "static ca_file": {"discovery": {"static": [*simulator.urls, {"url": "https://h", "ca_file": str(file)}]}},
        "oidc ca_file": {"auth": {"methods": ["oidc"], "oidc": oidc}},
        "oidc token_file": {"auth": {"methods": ["oidc"], "oidc": oidc}},
        "redis password_file": {"limits": {"redis": {"url": "redis://127.0.0.1:9", "password_file": str(file)}}},
    }
    told = {**config(simulator.urls), **sections[key]}
    served = await world.gateway_with(yaml.safe_dump(told), is_ready=False)
    tried.times = 2
    await until(lambda: bool(served.gateway.live.reasons), "the reason")
    assert (await served.probe("/readyz")).status == 503
    write_ca(world.folder, "ca.new").replace(file)
    await served.readiness()
    assert served.gateway.live.reasons == []
    file.unlink()
    served.write({**told, "queue": {"max_waiting": 7}})
    await until(lambda: bool(served.gateway.live.reasons), "the reason of the reload")
    write_ca(world.folder, "ca.new").replace(file)
    await until(lambda: served.gateway.current.now.config.queue.max_waiting == 7, "the reload in force")


@pytest.mark.attack("files", "an audit key that is too short, then long enough")
async def test_a_late_audit_key_is_taken(world: World) -> None:
    simulator = await world.simulator()
    key = world.folder / "key"
    key.write_text("short")
    told = config(simulator.urls, audit={"key_file": str(key)})
    async with serving(world.folder, told) as command:
        await until(lambda: "a key needs at least 32" in command.log, "the reason")
        key.write_text("k" * 32)
        await until(lambda: "config loaded" in command.log, "the config")


@pytest.mark.attack("files", "a TLS key with a pass phrase: at the start, live and in check, beside a terminal")
async def test_the_gateway_asks_for_no_pass_phrase(world: World, tried: Tried) -> None:
    simulator = await world.simulator()
    _, key = write_pair(world.folder)
    plain = key.read_bytes()
    told = config(simulator.urls, tls=tls(world.folder))
    tried.times = 3
    async with serving(world.folder, told) as command:
        encrypt(key)
        await until(lambda: "certificate not reloaded" in command.log, "the refusal")
        assert "is encrypted" in command.log
        await alive(command)
    status, said = await checked(world.folder, told, has_terminal=True)
    assert (status, "tls.key" in said, "is encrypted" in said, "pass phrase" in said) == (1, True, True, True)
    async with serving(world.folder, told) as command:
        await alive(command)
        assert (await command.chat()).status == 503
        key.write_bytes(plain)
        assert await soon(command.process.wait(), 20) == 0


@pytest.mark.attack("files", "a FIFO in the place of a certificate, a CA or a key, at the start and live")
@pytest.mark.parametrize("name", ["tls.key", "ca_file", "key_file", "token_file"])
async def test_no_pipe_is_waited_for(world: World, name: str) -> None:
    simulator = await world.simulator()
    write_pair(world.folder)
    fifo = world.folder / "fifo"
    os.mkfifo(fifo)
    oidc = {"issuer": "https://issuer.example", "audience": "a", "token_file": str(fifo)}
    sections: dict[str, dict[str, Any]] = {
        "tls.key": {"tls": {**tls(world.folder), "key": str(fifo)}},
        "ca_file": {"discovery": {"static": [{"url": "https://h", "ca_file": str(fifo)}]}},
        "key_file": {"audit": {"key_file": str(fifo)}},
        "token_file": {"auth": {"methods": ["oidc"], "oidc": oidc}},
    }
    told = {**config(simulator.urls), **sections[name]}
    status, said = await checked(world.folder, told)
    assert (status, "FIFO" in said) == (1, True)
    async with serving(world.folder, told) as command:
        assert (await command.chat()).status == 503
        await alive(command)


@pytest.mark.attack("files", "a certificate whose file becomes a FIFO while it is served")
async def test_a_pipe_in_a_certificates_place_holds_nothing(world: World) -> None:
    simulator = await world.simulator()
    certificate, _ = write_pair(world.folder)
    good = certificate.read_bytes()
    async with serving(world.folder, config(simulator.urls, tls=tls(world.folder))) as command:
        certificate.unlink()
        os.mkfifo(certificate)
        await until(lambda: "it is a FIFO" in command.log, "the refusal")
        await alive(command)
        certificate.unlink()
        certificate.write_bytes(good)
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        _, writer = await soon(asyncio.open_connection("127.0.0.1", command.port, ssl=context))
        writer.close()


@pytest.mark.attack("files", "a bundle of 2,000 CAs for one endpoint, read while streams run")
def test_a_large_bundle_holds_no_loop(tmp_path: Path, tried: Tried) -> None:
    ca = write_ca(tmp_path)
    bundle = tmp_path / "bundle.pem"
    bundle.write_bytes(ca.read_bytes() * 2000)

    async def connect() -> None:
        from ai_gateway.wire.address import Address

        client = Client(asyncio.get_running_loop())
        with pytest.raises(Exception, match="cannot connect"):
            await client.connect(Address("127.0.0.1", 9, "https", "", str(bundle)), 20)

    for _ in range(TRIES):
        with callbacks_timed() as held, asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
            runner.run(connect())
        if held.longest_seconds < 0.005:
            break
    tried.figure(str(held))
    assert held.longest_seconds < 0.005 * slowness()


DATABASE = {"store": "postgresql", "key_file": __file__}
LET_THROUGH = {
    "a path of the API": {"discovery": {"static": ["http://h:11434/v1"]}},
    "the path of Ollama": {"discovery": {"static": ["http://h:11434/api/"]}},
    "a whole route": {"discovery": {"static": ["http://h:11434/v1/chat/completions"]}},
    "a blank in a host": {"discovery": {"static": ["http://gpu 1:11434"]}},
    "a tab in a host": {"discovery": {"static": ["http://gpu\t1:11434"]}},
    "a percent sign in a host": {"discovery": {"static": ["http://gpu%201:11434"]}},
    "an empty label": {"discovery": {"static": ["http://gpu..ai"]}},
    "a number that is no address": {"discovery": {"static": ["http://10.0.0.256"]}},
    "only ASCII letters": {"discovery": {"static": ["http://m\u00fcller"]}},
    "a port of other digits": {"discovery": {"static": ["http://h:\u0661\u0662"]}},
    "port 0": {"discovery": {"static": ["http://h:0"]}},
    "port 65536": {"discovery": {"static": ["http://h:65536"]}},
    "IPv6 without brackets": {"discovery": {"static": ["http://::1:11434"]}},
    "a name in brackets": {"discovery": {"static": ["http://[gpu]:11434"]}},
    "a password": {"discovery": {"static": ["http://me:hunter2@h"]}},
    "an empty user": {"discovery": {"static": ["http://@h"]}},
    "an empty query": {"discovery": {"static": ["http://h?"]}},
    "an empty fragment": {"discovery": {"static": ["http://h#"]}},
    "no host": {"discovery": {"static": ["http://:11434"]}},
    "one slash": {"discovery": {"static": ["http:/h"]}},
    "dots in a path": {"discovery": {"static": ["http://h/a/../b"]}},
    "a star to listen on": {"listen": "*:8080"},
    "a blank to listen on": {"listen": "gpu 1:8080"},
    "IPv6 to listen on without brackets": {"listen": "::1:8080"},
    "IPv4 in brackets to listen on": {"listen": "[127.0.0.1]:8080"},
    "other digits to listen on": {"listen": "h:\u0668\u0660"},
    "port 65536 to listen on": {"admin": ":65536"},
    "one address for both ports": {"listen": "localhost:8080", "admin": "127.0.0.1:8080"},
    "all addresses and one of them": {"listen": ":8080", "admin": "127.0.0.1:8080"},
    "a name for DNS with a port": {"discovery": {"dns": {"name": "ollama:11434"}}},
    "a name for DNS with a scheme": {"discovery": {"dns": {"name": "http://ollama"}}},
    "a selector that is none": {"discovery": {"kubernetes": {"label_selector": "app in (a"}}},
    "a Service that is none": {"discovery": {"kubernetes": {"mode": "endpointslices", "service": "a/b"}}},
    "a Redis in capitals": {"limits": {"redis": {"url": "REDIS://h"}}},
    "a Redis with a blank": {"limits": {"redis": {"url": "redis://h 1"}}},
    "a Redis of port 65536": {"limits": {"redis": {"url": "redis://h:65536"}}},
    "an issuer of port 65536": {"auth": {"methods": ["oidc"], "oidc": {"issuer": "https://h:65536", "audience": "a"}}},
    "an issuer with a query": {"auth": {"methods": ["oidc"], "oidc": {"issuer": "https://h/?a=b", "audience": "a"}}},
    "an issuer with a blank": {"auth": {"methods": ["oidc"], "oidc": {"issuer": "https://h 1", "audience": "a"}}},
    "a DSN that is none": {"audit": {**DATABASE, "dsn": "db:5432"}},
    "a DSN with a password": {"audit": {**DATABASE, "dsn": "postgresql://me:hunter2@db/audit"}},
    "a password in a DSN of words": {"audit": {**DATABASE, "dsn": "host=db password=hunter2"}},
    "the home of nobody": {"audit": {"path": "~nobody-at-all/audit.db"}},
    "a NUL in a path": {"audit": {"path": "a\0b"}},
    "an empty path": {"audit": {"path": ""}},
}


@pytest.mark.attack("files", "what `check` let through, and what no call or start could use")
@pytest.mark.parametrize("name", LET_THROUGH)
async def test_check_says_what_the_gateway_would(world: World, name: str, tried: Tried) -> None:
    """A password is not repeated in what is said."""
    status, said = await checked(world.folder, LET_THROUGH[name])
    assert (status, said.count("\n"), "hunter2" in said) == (1, 1, False), said


@pytest.mark.attack("files", "a `~` in the paths of a config, and where nobody is at home")
async def test_a_tilde_is_the_home(world: World, tmp_path: Path) -> None:
    simulator = await world.simulator()
    home = tmp_path / "home"
    home.mkdir()
    told = config(simulator.urls, audit={"path": "~/kept/audit.db"})
    async with serving(tmp_path, told, HOME=str(home)) as command:
        await command.ready()
        assert (home / "kept" / "audit.db").exists()
    assert "~" not in os.listdir()
    assert (await checked(tmp_path, told, HOME=""))[0] == 1
