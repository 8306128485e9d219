"""Only regular files are read, up to a size; anything else gives one sentence."""

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from ai_gateway.config.loading import ConfigError, load, parse
from ai_gateway.config.reading import Unreadable, missing, read, read_text, stamp_of

NOBODY = 65534


@contextmanager
def nobody() -> Iterator[None]:
    """Without root's rights to read everything."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


def _fifo(path: Path) -> Path:
    os.mkfifo(path)
    return path


def _socket(path: Path) -> Path:
    before = Path.cwd()
    os.chdir(path.parent)  # a socket's path has 108 characters at most
    try:
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(path.name)
    finally:
        os.chdir(before)
    return path


def _folder(path: Path) -> Path:
    path.mkdir()
    return path


def _loop(path: Path) -> Path:
    path.symlink_to(path.name)
    return path


def _below_a_file(path: Path) -> Path:
    path.touch()
    return path / "ca.pem"


STRANGE: dict[str, Callable[[Path], Path]] = {
    "fifo": _fifo,
    "socket": _socket,
    "folder": _folder,
    "loop": _loop,
    "below a file": _below_a_file,
    "device": lambda _: Path("/dev/zero"),
    "terminal": lambda _: Path("/dev/tty"),
    "a name too long": lambda path: path / ("x" * 256),
    "a path too long": lambda path: path / "/".join("x" * 200 for _ in range(30)),
    "nul": lambda path: Path(f"{path}\0"),
    "half a pair": lambda path: Path(f"{path}\ud800"),
    "nothing": lambda path: path,
}


@pytest.fixture(params=STRANGE)
def strange(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A path that leads to no file."""
    return STRANGE[request.param](tmp_path / "it")


def test_a_path_without_a_regular_file_gives_one_sentence(strange: Path) -> None:
    for check in (stamp_of, lambda path: read(path, 10), read_text):
        with pytest.raises(Unreadable) as refused:
            check(strange)
        assert str(refused.value).encode()
        assert len(str(refused.value)) < 300
        assert "\0" not in str(refused.value)


def test_a_config_that_names_a_bad_path_is_refused_with_the_key(strange: Path) -> None:
    """Formerly a path that is too long, or in a folder that may not be read, ended the gateway at the start."""
    quoted = '"' + "".join(f"\\u{ord(letter):04x}" for letter in str(strange)) + '"'
    oidc = f"{{issuer: 'https://a', audience: b, ca_file: {quoted}}}"
    sections = {
        "discovery.static[0].ca_file": f"discovery: {{static: [{{url: 'https://a', ca_file: {quoted}}}]}}",
        "tls.certificate": f"tls: {{certificate: {quoted}, key: /dev/null}}",
        "auth.oidc.ca_file": f"auth: {{methods: [oidc], oidc: {oidc}}}",
        "audit.key_file": f"audit: {{key_file: {quoted}}}",
        "limits.redis.ca_file": f"limits: {{redis: {{url: 'rediss://r', ca_file: {quoted}}}}}",
        "limits.redis.password_file": f"limits: {{redis: {{url: 'rediss://r', password_file: {quoted}}}}}",
    }
    for path, text in sections.items():
        with pytest.raises(ConfigError) as refused:
            parse(text.encode())
        paths = [reason.path for reason in refused.value.reasons]
        # Half a pair of surrogates is refused before, as no text.
        assert path in paths or paths == [""], refused.value
        assert str(refused.value).encode()


def test_a_config_path_without_a_file_is_refused(strange: Path) -> None:
    with pytest.raises(ConfigError) as refused:
        load(strange)
    assert "cannot read" in str(refused.value)


def test_an_unreadable_folder_gives_a_reason() -> None:
    """For the config and for files that it names. Formerly the log had a traceback twice a second."""
    with TemporaryDirectory() as open_:  # not a folder of the tests, which other users may not enter
        Path(open_).chmod(0o755)
        inside = Path(open_) / "closed"
        inside.mkdir()
        (inside / "ca.pem").touch()
        inside.chmod(0)
        with nobody():
            assert missing(str(inside / "ca.pem")) == f"cannot read {inside / 'ca.pem'}: Permission denied"
            with pytest.raises(ConfigError, match="Permission denied"):
                load(inside / "config.yml")
            with pytest.raises(ConfigError, match="Permission denied"):
                parse(f"tls: {{certificate: {inside / 'ca.pem'}, key: /dev/null}}".encode())
        inside.chmod(0o700)


def test_a_larger_file_is_read_to_one_byte_more(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x" * 100)
    assert read(tmp_path / "file", 10).data == b"x" * 11


@pytest.mark.parametrize(
    ("content", "words"), [(b"", "empty"), (b" \n", "empty"), (b"\xff", "UTF-8"), (b"x" * 20, "larger")]
)
def test_a_secret_that_is_empty_or_not_text_is_refused(tmp_path: Path, content: bytes, words: str) -> None:
    """An empty password or DSN would mean none, or the database of the environment."""
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(Unreadable, match=words):
        read_text(tmp_path / "file", 10)


def test_a_folder_with_a_config_is_read(tmp_path: Path) -> None:
    """As `serve` reads one: a mounted ConfigMap."""
    (tmp_path / "config.yml").write_text("models: {a: }")
    assert list(load(tmp_path).models) == ["a"]
