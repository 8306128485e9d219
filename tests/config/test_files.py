"""Files that a config names: whatever is wrong with one is a complaint with its path, and a change of it is seen."""

import os
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

import pytest
from tests.config.pem_files import encrypt, write_ca, write_pair

from ai_gateway.config.files import NamedFile, named_files
from ai_gateway.config.loading import ConfigError, parse
from ai_gateway.config.sections import alternatives
from ai_gateway.config.state import ConfigState
from ai_gateway.config.types import Config
from ai_gateway.config.units import FilePath, Section


def refusal(content: str) -> ConfigError:
    with pytest.raises(ConfigError) as refused:
        parse(content.encode())
    return refused.value


def spoil(path: Path, how: str) -> None:
    """Puts something of no use in a file's place."""
    path.unlink(missing_ok=True)
    if how == "folder":
        path.mkdir()
    elif how == "FIFO":
        os.mkfifo(path)
    elif how == "loop":
        path.symlink_to(path)
    elif how != "missing":
        path.write_bytes({"empty": b"", "noise": b"\xff" * 100, "text": b"-----BEGIN CERTIFICATE-----\nx"}[how])


KEYS = {
    "discovery.static[0].ca_file": "discovery: {{static: [{{url: 'https://h', ca_file: {file}}}]}}",
    "auth.oidc.ca_file": "auth: {{methods: [oidc], oidc: {{issuer: 'https://h', audience: a, ca_file: {file}}}}}",
    "auth.oidc.token_file": "auth: {{methods: [oidc], oidc: {{issuer: 'https://h', audience: a, token_file: {file}}}}}",
    "limits.redis.password_file": "limits: {{redis: {{url: 'redis://h', password_file: {file}}}}}",
    "limits.redis.ca_file": "limits: {{redis: {{url: 'rediss://h', ca_file: {file}}}}}",
    "audit.dsn_file": "audit: {{store: postgresql, key_file: {key}, dsn_file: {file}}}",
    "audit.key_file": "audit: {{key_file: {file}}}",
    "tls.certificate": "tls: {{certificate: {file}, key: {key}}}",
    "tls.key": "tls: {{certificate: {key}, key: {file}}}",
    "tls.client_ca": "tls: {{certificate: {pair[0]}, key: {pair[1]}, client_ca: {file}}}",
}


# What is of use there, however odd.
SOUND = {
    ("audit.key_file", "noise"),
    *((key, "text") for key in ("auth.oidc.token_file", "limits.redis.password_file", "audit.dsn_file")),
}


def test_every_key_that_names_a_file_is_in_the_table(pair: tuple[Path, Path], ca: Path) -> None:
    """By its type, whatever section it stands in; those that are written or followed by themselves apart."""
    apart = {"auth.keys_file", "audit.path", "audit.spool", "audit.checkpoints"}
    found = set(_file_paths()) - apart
    assert found == {key.replace("[0]", "[]") for key in KEYS}
    for key, content in KEYS.items():
        config = _parsed_without_looking(content.format(file=ca, key=ca, pair=pair))
        assert key in [named.key for named in config]


def _file_paths(kind: Any = Config, path: str = "") -> Iterator[str]:
    """Of every key whose value is a path."""
    for name, hint in get_type_hints(kind, include_extras=True).items():
        for part in alternatives(hint):
            inner = alternatives(get_args(part)[0]) if get_origin(part) is tuple else [part]
            for one in inner:
                here = f"{path}{name}" + ("[]" if one is not part else "")
                if one is FilePath:
                    yield here
                elif isinstance(one, type) and issubclass(one, Section):
                    yield from _file_paths(one, f"{here}.")


def _parsed_without_looking(content: str) -> list[NamedFile]:
    import msgspec
    import yaml

    from ai_gateway.config.loading import _decode_unit

    return list(named_files(msgspec.convert(yaml.safe_load(content), Config, dec_hook=_decode_unit)))


@pytest.mark.parametrize("how", ["missing", "empty", "noise", "text", "folder", "FIFO", "loop"])
@pytest.mark.parametrize("key", KEYS)
def test_a_file_of_no_use_is_a_complaint(tmp_path: Path, pair: tuple[Path, Path], ca: Path, key: str, how: str) -> None:
    """And none is waited for."""
    if (key, how) in SOUND:
        pytest.skip("that is one")
    file = tmp_path / "file"
    spoil(file, how)
    error = refusal(KEYS[key].format(file=file, key=ca, pair=pair))
    paths = [reason.path for reason in error.reasons]
    assert key in paths or (key.startswith("tls.") and "tls.certificate" in paths), error
    assert str(file) in error.snapshot.files


def test_a_key_with_a_pass_phrase_is_refused_with_what_to_do(pair: tuple[Path, Path]) -> None:
    """Nobody is asked for it."""
    encrypt(pair[1])
    (reason,) = refusal(f"tls: {{certificate: {pair[0]}, key: {pair[1]}}}").reasons
    assert reason.path == "tls.key"
    assert "is encrypted" in reason.message
    assert "openssl pkey" in reason.message


def test_a_key_of_another_certificate_is_refused(tmp_path: Path, pair: tuple[Path, Path]) -> None:
    _, other = write_pair(tmp_path, "other")
    (reason,) = refusal(f"tls: {{certificate: {pair[0]}, key: {other}}}").reasons
    assert "key values mismatch" in reason.message


async def test_content_is_checked_again_when_a_file_of_it_comes(tmp_path: Path) -> None:
    """And neither before, nor once more after that."""
    ca = tmp_path / "ca.pem"
    applied: list[Config] = []
    live = ConfigState("the test", applied.append)
    content = f"discovery: {{static: [{{url: 'https://h', ca_file: {ca}}}]}}".encode()
    assert await live.submit(content)
    await live.check_again()
    ca.write_text("no certificate yet")
    await live.check_again()
    assert "contains no CA certificate" in live.reasons[0].message
    write_ca(tmp_path)
    for _ in range(2):
        await live.check_again()
    assert (len(applied), live.reasons, live.total_refused) == (1, [], 1)


async def test_a_file_that_comes_mends_nothing_else(tmp_path: Path) -> None:
    """Other mistakes in the same content stay."""
    ca = tmp_path / "ca.pem"
    live = ConfigState("the test", lambda config: None)
    await live.submit(f"admin: nonsense\nlimits: {{redis: {{url: 'rediss://h', ca_file: {ca}}}}}".encode())
    assert [reason.path for reason in live.reasons] == ["admin", "limits.redis.ca_file"]
    write_ca(tmp_path)
    await live.check_again()
    assert [reason.path for reason in live.reasons] == ["admin"]


def test_a_tilde_is_a_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a shell; where nobody knows it the path is refused, and no folder of that name is made."""
    monkeypatch.setenv("HOME", str(tmp_path))
    assert parse(b"audit: {path: '~/audit.db', checkpoints: stdout}").audit.path == f"{tmp_path}/audit.db"
    assert parse(b"auth: {methods: [keys], keys_file: '~/keys'}").auth.keys_file == f"{tmp_path}/keys"
    for path in ("~nobody-at-all/x", "~nobody-at-all"):
        assert "cannot find this home folder" in str(refusal(f"audit: {{path: '{path}'}}"))
    monkeypatch.setenv("HOME", "")
    assert "cannot find this home folder" in str(refusal("audit: {path: '~/x'}"))


def test_the_system_bundle_is_one() -> None:
    from ai_gateway.config.pem import client_context

    assert client_context().verify_mode == ssl.CERT_REQUIRED
