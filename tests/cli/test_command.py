"""The command has helpful help, prints a mistake in one line, and ends with a status for scripts."""

import json
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest
import trustme

from ai_gateway.__main__ import main
from ai_gateway.cli import keys
from ai_gateway.config import access
from ai_gateway.version import __version__

FREE = "127.0.0.1:0"


def said(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    """Exit status, standard output and standard error of the command, run in this process."""
    try:
        status = main(list(words))
    except SystemExit as end:
        status = int(end.code or 0)
    shown = capsys.readouterr()
    return status, shown.out, shown.err


class Running:
    """`ai-gateway serve` in a process of its own, and the addresses it printed."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.process = process
        assert process.stderr is not None
        self.lines: list[str] = []
        for line in process.stderr:
            self.lines.append(line)
            if "listening on" in line:
                break
        else:
            raise AssertionError("".join(self.lines))
        found = re.findall(r"https?://[^ \"()]+", json.loads(line)["message"])
        self.api, self.admin = found[0], found[-1]


@contextmanager
def running(words: list[str], environment: Mapping[str, str], folder: Path) -> Iterator[Running]:
    """Serves in an empty folder until the block is left; the end must be clean."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("AI_GATEWAY_", "OLLAMA_"))}
    process = subprocess.Popen(
        [sys.executable, "-m", "ai_gateway", "serve", *words],
        cwd=folder,
        env={name: value for name, value in {**clean, "OLLAMA_HOST": "127.0.0.1:9", **environment}.items() if value},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield Running(process)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)
        assert process.returncode == 0
    finally:
        process.kill()
        process.communicate()


def model_ids(url: str) -> list[str]:
    with urllib.request.urlopen(f"{url}/v1/models", timeout=60) as answer:
        return [model["id"] for model in json.load(answer)["data"]]


def test_the_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    """On standard output."""
    assert said(capsys, "--version") == (0, f"ai-gateway {__version__}\n", "")


@pytest.mark.parametrize(
    ("words", "taught"),
    [
        (["--help"], ["serve", "check", "simulate", "first steps", "ai-gateway serve --demo", "curl"]),
        (
            ["serve", "--help"],
            ["--config", "--listen", "--admin", "--demo", "AI_GATEWAY_LISTEN", "OLLAMA_HOST", "examples"],
        ),
        (["check", "--help"], ["config.yml", "exits with 1", "example"]),
        (["simulate", "--help"], ["--endpoints", "--models", "--dialect", "examples", "curl"]),
    ],
)
def test_help_has_examples(capsys: pytest.CaptureFixture[str], words: list[str], taught: list[str]) -> None:
    """Not only which flags there are, but what to type."""
    status, out, _ = said(capsys, *words)
    assert status == 0
    assert [word for word in taught if word not in out] == []


@pytest.mark.parametrize("words", [[], ["sevre"], ["serve", "--listne", "x"], ["check"], ["serve", "extra"]])
def test_a_mistake_is_printed_with_the_usage(capsys: pytest.CaptureFixture[str], words: list[str]) -> None:
    """And status 2, as is usual."""
    status, out, err = said(capsys, *words)
    assert (status, out) == (2, "")
    assert "usage: ai-gateway" in err


def test_a_valid_config_is_ok(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """With the models it names."""
    config = tmp_path / "config.yml"
    config.write_text("models: {llama3: , coder: {ollama: codellama}}")
    assert said(capsys, "check", str(config)) == (0, f"{config}: ok (llama3, coder)\n", "")


def test_a_missing_required_section_is_a_mistake(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Named once or several times, or by the environment's variable; a word for off is in the file, too."""
    config = tmp_path / "config.yml"
    config.write_text("models: {llama3: }\nlimits: none\n")
    assert said(capsys, "check", str(config), "--require", "limits")[0] == 0
    status, _, err = said(capsys, "check", str(config), "--require", "limits,auth", "--require", "tls")
    assert (status, [line.split(": ")[1] for line in err.splitlines()]) == (1, ["auth", "tls"])
    assert "to turn it off write `auth: {methods: [none]}`" in err


@pytest.mark.parametrize("command", [["check", "config.yml"], ["serve"]])
def test_serve_refuses_to_start_with_an_unknown_required_section(
    capsys: pytest.CaptureFixture[str], command: list[str]
) -> None:
    status, _, err = said(capsys, *command, "--require", "auth,model")
    assert status == 1
    assert "'model' is not one of auth, callers, limits, audit, tls" in err


def test_a_folder_is_checked_by_its_file(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """As `serve` reads a mounted ConfigMap."""
    (tmp_path / "config.yml").write_text("models: {llama3: }")
    assert said(capsys, "check", str(tmp_path))[0] == 0


@pytest.mark.parametrize("words", [["check", "~/config.yml"], ["keys", "list", "--file", "~/keys.yaml"]])
def test_a_tilde_in_a_flag_is_a_home(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str]
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    status, _, err = said(capsys, *words)
    assert (status, str(tmp_path / words[-1].removeprefix("~/")) in err) == (1, True)


def test_a_bad_config_gets_a_line_for_each_mistake(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """File, path, what is wrong; status 1."""
    config = tmp_path / "config.yml"
    config.write_text("modles: {}\nmodels: {a: {version: 7}}")
    status, out, err = said(capsys, "check", str(config))
    assert (status, out) == (1, "")
    first, second = err.splitlines()
    assert first.startswith(f"{config}: modles: unknown key")
    assert second.startswith(f"{config}: models.a.version: ")


def test_a_missing_config_is_a_mistake(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """In one line, and without a trace."""
    status, _, err = said(capsys, "check", str(tmp_path / "nowhere.yml"))
    assert status == 1
    assert len(err.splitlines()) == 1
    assert "No such file" in err


def test_the_repositorys_own_config_is_good(capsys: pytest.CaptureFixture[str]) -> None:
    """A newcomer begins with it."""
    assert said(capsys, "check", str(Path(__file__).parents[2] / "config.yml"))[0] == 0


def refused(words: list[str], folder: Path, **environment: str) -> str:
    """What `serve` says when it cannot: one line on standard error, with status 1."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("AI_GATEWAY_", "OLLAMA_"))}
    ended = subprocess.run(
        [sys.executable, "-m", "ai_gateway", "serve", *words],
        cwd=folder,
        env={**clean, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 1
    assert "Traceback" not in ended.stderr
    lines = [line for line in ended.stderr.splitlines() if not line.startswith("{")]
    assert len(lines) == 1
    return lines[0]


@pytest.mark.parametrize("flag", ["--listen", "--admin"])
def test_a_taken_port_is_one_clear_line(tmp_path: Path, flag: str) -> None:
    """With the address in it, and status 1."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        other = "--admin" if flag == "--listen" else "--listen"
        line = refused([flag, address, other, FREE], tmp_path)
    assert line.startswith("ai-gateway: ")
    assert address in line


def test_an_invalid_address_is_one_clear_line(tmp_path: Path) -> None:
    """Not a trace."""
    assert "nonsense" in refused(["--listen", "nonsense", "--admin", FREE], tmp_path)


def test_port_0_takes_a_free_port_and_prints_it(tmp_path: Path) -> None:
    """Both ports; the config is found in the folder, and a signal ends it cleanly."""
    (tmp_path / "config.yml").write_text("models: {llama3: }")
    with running(["--listen", FREE, "--admin", FREE], {}, tmp_path) as gateway:
        assert model_ids(gateway.api) == ["llama3"]
        with urllib.request.urlopen(f"{gateway.admin}/livez", timeout=60) as answer:
            assert answer.status == 200


def test_flags_come_from_the_environment_and_override_it(tmp_path: Path) -> None:
    """The flag wins over the variable, the variable over the config file, that over the default."""
    (tmp_path / "other.yml").write_text("models: {other: }\nlisten: 203.0.113.1:1\nadmin: 203.0.113.1:2")
    environment = {"AI_GATEWAY_CONFIG": "other.yml", "AI_GATEWAY_LISTEN": FREE, "AI_GATEWAY_ADMIN": "nonsense"}
    with running(["--admin", FREE], environment, tmp_path) as gateway:
        assert model_ids(gateway.api) == ["other"]


def test_a_named_ollama_overrides_a_demo(tmp_path: Path) -> None:
    """Even if that one is down; the addresses come from the config here."""
    (tmp_path / "config.yml").write_text("models: {llama3: }\nlisten: 127.0.0.1:0\nadmin: 127.0.0.1:0")
    with running([], {"AI_GATEWAY_DEMO": "1", "OLLAMA_HOST": "127.0.0.1:9"}, tmp_path) as gateway:
        answer = urllib.request.urlopen(f"{gateway.api}/v1/models", timeout=60)
        answer.close()
        assert answer.headers["x-ai-gateway-demo"] is None


def test_a_demo_simulates_only_where_no_ollama_answers(tmp_path: Path) -> None:
    """Three simulated endpoints say so in a header and in health; an Ollama on this machine goes before them."""
    (tmp_path / "config.yml").write_text("models: {llama3: {version: latest}}\n")
    with socket.socket() as probe:
        is_taken = probe.connect_ex(("127.0.0.1", 11434)) == 0
    with (
        running(["--demo", "--listen", FREE, "--admin", FREE], {"OLLAMA_HOST": ""}, tmp_path) as served,
        urllib.request.urlopen(f"{served.api}/v1/health") as answer,
    ):
        health = json.load(answer)
        assert (answer.headers["x-ai-gateway-demo"] is None) == is_taken
        assert health["discovery"]["source"].startswith("demo") == (not is_taken)
        assert is_taken or len(health["endpoints"]) == 3


def test_without_a_demo_no_endpoint_is_invented(tmp_path: Path) -> None:
    """Plain `serve` that finds nothing serves with nothing, and health says so."""
    (tmp_path / "config.yml").write_text("models: {llama3: {version: latest}}\ndiscovery: {static: []}\n")
    with (
        running(["--listen", FREE, "--admin", FREE], {}, tmp_path) as served,
        urllib.request.urlopen(f"{served.api}/v1/health") as answer,
    ):
        health = json.load(answer)
    assert (health["gateway"], health["ollama"], health["endpoints"]) == ("ok", "unavailable", [])


def test_tls_in_the_config_serves_https(tmp_path: Path) -> None:
    """With `tls` the API port speaks HTTPS with that certificate; the admin port stays plain for probes."""
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1")
    certificate.cert_chain_pems[0].write_to_path(tmp_path / "tls.crt")
    certificate.private_key_pem.write_to_path(tmp_path / "tls.key")
    (tmp_path / "config.yml").write_text("tls: {certificate: tls.crt, key: tls.key}\nmodels: {llama3: }\n")
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    with running(["--listen", FREE, "--admin", FREE], {}, tmp_path) as served:
        assert served.api.startswith("https://")
        assert served.admin.startswith("http://")
        with urllib.request.urlopen(f"{served.api}/v1/models", context=trusting) as answer:
            assert json.load(answer)["data"][0]["id"] == "llama3"


def test_a_bad_config_does_not_keep_the_gateway_from_starting(tmp_path: Path) -> None:
    """It logs the mistake, serves nothing, and waits for a valid config."""
    (tmp_path / "config.yml").write_text("modles: {}")
    with running(["--listen", FREE, "--admin", FREE], {}, tmp_path) as gateway:
        assert any("modles: unknown key" in line for line in gateway.lines)
        with pytest.raises(urllib.error.HTTPError, match="503"):
            model_ids(gateway.api)


def test_simulate_refuses_invalid_model_names(capsys: pytest.CaptureFixture[str]) -> None:
    """In one line, with status 1."""
    status, out, err = said(capsys, "simulate", "--models", "a b,llama3")
    assert (status, out) == (1, "")
    assert err == "ai-gateway simulate: these are not model names: a b\n"


def test_the_help_of_keys_names_the_routes_of_the_config() -> None:
    assert ", ".join(access.ROUTES) == keys.ROUTES
