"""`ai-gateway models` shows what a gateway tells, whatever that is, and keeps the key to itself."""

import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme
from tests.cli.scripted_gateway import Scripted, error, listing, scripted
from tests.cli.test_command import said

from ai_gateway.cli import asking as asking_module
from ai_gateway.cli import model_table
from ai_gateway.cli.asking import Asking
from ai_gateway.cli.model_table import Row, Table, lines

SECRET = "sk-gw-very-secret"


@pytest.fixture
def server() -> Iterator[Scripted]:
    """What answers."""
    with scripted() as started:
        yield started


def table(server: Scripted, capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    """Status and outputs of one look."""
    return said(capsys, "models", "--url", server.url, *words)


def test_a_row_has_state_progress_endpoints_name_and_the_last_failure(
    server: Scripted, capsys: pytest.CaptureFixture[str]
) -> None:
    server["/v1/models"] = listing({"id": "coder", "state": "updating", "progress": 0.5}, "llama3")
    detail = {"state": "updating", "done": 1, "total": 3, "ollama": "codellama:13b", "reason": "no space left"}
    server["/v1/models/coder"] = 200, detail
    server["/v1/models/llama3"] = 200, {"state": "ready", "ollama": "llama3:latest", "endpoints": ["a:1", "b:1"]}
    status, out, err = table(server, capsys)
    head, coder, llama = out.splitlines()
    assert (status, err) == (0, "")
    assert head.split() == ["MODEL", "STATE", "PULLED", "ENDPOINTS", "NAME"]
    assert coder.split(maxsplit=6)[:3] == ["coder", "updating", "[##########..........]"]
    assert coder.split()[3:] == ["50%", "1/3", "codellama:13b", "no", "space", "left"]
    assert llama.split() == ["llama3", "ready", "2", "llama3:latest"]
    assert server.connections == 1


def test_no_models_at_all_is_said_in_words(server: Scripted, capsys: pytest.CaptureFixture[str]) -> None:
    server["/v1/models"] = listing()
    status, out, _ = table(server, capsys)
    assert (status, out) == (0, "no models: the config names none, or none that this key may use\n")


def test_a_model_that_goes_between_two_questions_is_shown_as_it_was_listed(
    server: Scripted, capsys: pytest.CaptureFixture[str]
) -> None:
    server["/v1/models"] = listing({"id": "gone", "state": "pulling", "progress": 0.25})
    status, out, _ = table(server, capsys)
    assert (status, "25%" in out) == (0, True)


@pytest.mark.parametrize("model_id", ["team/code:best", "a b", "50%", "what?", "ä#1", "a%2Fb"])
def test_an_id_with_odd_letters_is_asked_for_by_its_whole_name(
    server: Scripted, capsys: pytest.CaptureFixture[str], model_id: str
) -> None:
    server["/v1/models"] = listing(model_id)
    server[f"/v1/models/{model_id}"] = 200, {"state": "ready", "ollama": "found"}
    _, out, _ = table(server, capsys)
    assert out.splitlines()[1].startswith(model_id)
    assert out.splitlines()[1].endswith("found")


@pytest.mark.parametrize("tail", ["", "/", "/v1", "/v1/"])
@pytest.mark.parametrize("prefix", ["", "/team/a"])
def test_a_url_may_have_a_path_and_the_v1_that_clients_have(
    capsys: pytest.CaptureFixture[str], prefix: str, tail: str
) -> None:
    with scripted(prefix) as server:
        server["/v1/models"] = listing()
        assert said(capsys, "models", "--url", server.url + tail)[0] == 0


def test_the_url_comes_from_the_environment_where_no_flag_names_one(
    server: Scripted, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    server["/v1/models"] = listing()
    monkeypatch.setenv("AI_GATEWAY_URL", server.url)
    assert said(capsys, "models")[0] == 0


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ((401, error("Your API key is wrong.")), "Your API key is wrong."),
        ((404, b"<html>Not here</html>"), "the gateway answered 404"),
        ((503, {"gateway": "no valid config: models.a: is wrong"}), "no valid config: models.a: is wrong"),
        ((503, b""), "the gateway is not ready"),
        ((500, error("x" * 9000)), "x" * 500),
        ((200, b"\x00\xff nonsense"), "is no gateway of this kind"),
        ((200, b"[" * 100_000), "is no gateway of this kind"),
        ((200, [1]), "is no gateway of this kind"),
        ((200, {"data": None}), "its list of models cannot be read"),
        ((200, {"data": [{"id": 7}]}), "its list of models cannot be read"),
        ((500, {"error": "not an object"}), "the gateway answered 500"),
    ],
)
def test_an_answer_that_is_no_list_is_one_line_and_status_1(
    server: Scripted, capsys: pytest.CaptureFixture[str], answer: tuple[int, object], expected: str
) -> None:
    server["/v1/models"] = answer
    status, out, err = table(server, capsys)
    assert (status, out, len(err.splitlines())) == (1, "", 1)
    assert err.startswith("ai-gateway models: ")
    assert err.rstrip().endswith(expected)


def test_a_huge_answer_is_not_read_to_its_end(
    server: Scripted, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking_module, "MOST_BYTES", 1 << 20)
    server["/v1/models"] = 200, b" " * (1 << 20) + b"{}"
    status, _, err = table(server, capsys)
    assert (status, "the answer has more than 1 MiB" in err) == (1, True)


def test_a_cut_answer_is_none(server: Scripted, capsys: pytest.CaptureFixture[str]) -> None:
    server.headers = {"content-length": "100", "connection": "close"}
    server["/v1/models"] = 200, b'{"data": []}'
    status, _, err = table(server, capsys)
    assert (status, err.count("no gateway answers at http://127.0.0.1:")) == (1, 1)


def test_what_answers_nothing_is_given_up(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking_module, "ANSWER_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        status, _, err = said(capsys, "models", "--url", f"http://127.0.0.1:{silent.getsockname()[1]}")
    assert (status, err.rstrip().endswith(": timed out")) == (1, True)


@pytest.mark.parametrize("greeting", [b"SSH-2.0-OpenSSH_9.6\r\n", b"HTTP/9 what\r\n\r\n", b"\x15\x03\x01\x00\x02\x02"])
def test_what_speaks_no_http_is_one_line(capsys: pytest.CaptureFixture[str], greeting: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other, other:
        other.settimeout(30)

        def greet() -> None:
            line, _ = other.accept()
            with line:
                line.recv(4096)
                line.sendall(greeting)

        thread = threading.Thread(target=greet)
        thread.start()
        status, _, err = said(capsys, "models", "--url", f"http://127.0.0.1:{other.getsockname()[1]}")
        thread.join()
    assert (status, len(err.splitlines())) == (1, 1)


@pytest.mark.parametrize(
    "url", ["localhost:8080", "ftp://a", "http://", "http://a b", "http://a:port", "http://[::1", "file:///etc/passwd"]
)
def test_what_is_no_url_is_one_line_with_an_example(capsys: pytest.CaptureFixture[str], url: str) -> None:
    for command in (["models"], ["models", "wait", "coder"]):
        status, _, err = said(capsys, *command, "--url", url)
        assert (status, len(err.splitlines()), "such as http://127.0.0.1:8080" in err) == (1, 1, True)


def test_a_password_in_a_url_is_refused_and_not_shown(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, err = said(capsys, "models", "--url", f"http://me:{SECRET}@127.0.0.1:9")
    assert (status, SECRET in out + err) == (1, False)


def test_a_certificate_counts_if_its_ca_is_known(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the usual variable, as the help says."""
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    with scripted(tls=context) as server:
        server["/v1/models"] = listing()
        status, _, err = table(server, capsys)
        assert (status, "certificate" in err.lower(), len(err.splitlines())) == (1, True, 1)
        authority.cert_pem.write_to_path(tmp_path / "ca.pem")
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
        assert table(server, capsys)[0] == 0
    assert "SSL_CERT_FILE" in said(capsys, "models", "--help")[1]


@pytest.mark.parametrize("content", [f"{SECRET}\n", f"\n {SECRET}\r\n"])
def test_the_key_goes_along_without_the_line_end_of_its_file(
    server: Scripted, capsys: pytest.CaptureFixture[str], tmp_path: Path, content: str
) -> None:
    key = tmp_path / "key"
    key.write_text(content)
    server["/v1/models"] = listing("coder")
    assert table(server, capsys, "--key-file", str(key))[0] == 0
    assert {key for _, key in server.asked} == {f"Bearer {SECRET}"}


@pytest.mark.parametrize(
    "content", [b"", b" \n", f"{SECRET}\n{SECRET}".encode(), f"{SECRET} x".encode(), b"\xff\xfe\x00", "ключ".encode()]
)
def test_a_file_without_one_key_is_one_line_that_shows_nothing_of_it(
    server: Scripted, capsys: pytest.CaptureFixture[str], tmp_path: Path, content: bytes
) -> None:
    key = tmp_path / "key"
    key.write_bytes(content)
    for command in (["models"], ["models", "wait", "coder"]):
        status, out, err = said(capsys, *command, "--url", server.url, "--key-file", str(key))
        assert (status, out, len(err.splitlines()), str(key) in err) == (1, "", 1, True)
        assert SECRET not in err
    assert server.asked == []


@pytest.mark.parametrize("place", ["nowhere", "."])
def test_a_missing_file_with_a_key_is_one_line(
    server: Scripted, capsys: pytest.CaptureFixture[str], tmp_path: Path, place: str
) -> None:
    for command in (["models"], ["models", "wait", "coder"]):
        status, _, err = said(capsys, *command, "--url", server.url, "--key-file", str(tmp_path / place))
        assert (status, len(err.splitlines())) == (1, 1)


def test_a_key_is_sent_nowhere_but_to_the_gateway(
    server: Scripted, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No redirect is followed, and no proxy of the environment is asked."""
    key = tmp_path / "key"
    key.write_text(SECRET)
    with scripted() as other:
        monkeypatch.setenv("http_proxy", other.url)
        server.headers = {"location": f"{other.url}/v1/models"}
        server["/v1/models"] = 302, b""
        status, _, err = table(server, capsys, "--key-file", str(key))
        assert (status, "the gateway answered 302" in err) == (1, True)
        assert (len(server.asked), other.asked) == (1, [])


def test_what_a_gateway_tells_cannot_control_a_terminal(server: Scripted, capsys: pytest.CaptureFixture[str]) -> None:
    """Nor forge a row."""
    server["/v1/models"] = listing({"id": "a\x1b[2J\nfake ready", "state": "\x1b]0;x\x07"})
    _, out, _ = table(server, capsys)
    assert "\x1b" not in out
    assert len(out.splitlines()) == 2
    server["/v1/models"] = 500, error("a\nb\x1b[31m")
    assert table(server, capsys)[2] == "ai-gateway models: a\\x0ab\\x1b[31m\n"


# -- many models, and terminals


def rows(count: int, moving: int = 0) -> list[Row]:
    """Models, of which the last ones move."""
    return [
        Row(f"m{number}", "pulling" if number >= count - moving else "ready", None, "3", f"n{number}:latest", "")
        for number in range(count)
    ]


def test_a_thousand_models_are_not_a_thousand_questions_a_second(server: Scripted) -> None:
    """Those that move are asked about each time; the others have their turn."""
    moving = [{"id": "m", "state": "pulling"}]
    server["/v1/models"] = listing(*moving, *(f"m{number}" for number in range(1000)))
    with Asking(server.url, None) as asking:
        looked = Table(asking)
        for _ in range(3):
            assert len(looked.read(model_table.MOST_ASKED)) == 1001
    assert len(server.asked) == 3 * (model_table.MOST_ASKED + 1)
    assert server.paths.count("/v1/models/m") == 3
    others = [path for path in server.paths if path not in ("/v1/models", "/v1/models/m")]
    assert len(set(others)) == len(others)


def test_more_models_than_lines_leave_room_for_those_that_move() -> None:
    shown = list(lines(rows(1000, moving=2), columns=80, height=24))
    assert len(shown) == 24
    assert [line.split()[0] for line in shown[1:3]] == ["m998", "m999"]
    assert shown[-1] == "and 978 more; `ai-gateway models --once` shows all"


@pytest.mark.parametrize("columns", [1, 20, 40, 80, 200])
def test_no_line_is_longer_than_the_terminal_is_wide(columns: int) -> None:
    """Letters that take two columns count as two."""
    wide = Row("模型" * 40, "updating", 0.37, "1/3", "codellama:13b", "no space left on device " * 9)
    for line in lines([*rows(40), wide], columns, height=30):
        assert model_table._width(line) <= columns


def test_a_bar_is_full_only_when_all_is_pulled() -> None:
    for progress, bar in ((0.0, "[" + "." * 20), (0.999, "#."), (1.0, "#]")):
        assert bar in "".join(lines([Row("m", "pulling", progress, "", "", "")]))
