"""The section `limits`: what is refused, and with which path."""

from pathlib import Path

import pytest
from tests.config.pem_files import write_ca

from ai_gateway.config.limits import RateLimits, Redis
from ai_gateway.config.loading import ConfigError, parse
from ai_gateway.config.units import FilePath


def reasons(content: str) -> list[tuple[str, str]]:
    with pytest.raises(ConfigError) as caught:
        parse(content.encode())
    return [(reason.path, reason.message) for reason in caught.value.reasons]


@pytest.mark.parametrize(
    ("content", "path", "words"),
    [
        ("limits: {default: {rpm: 0}}", "limits.default.rpm", ">= 1"),
        ("limits: {default: {rpm: 1.5}}", "limits.default.rpm", "expected a whole number"),
        ("limits: {default: {rps: 1}}", "limits.default", "unknown key `rps`"),
        ("limits: {tenants: {team-a: 5}}", "limits.tenants[...]", "expected a mapping"),
        (
            "models: {a: {aliases: [b]}}\nlimits: {models: {b: {rpm: 1}}}",
            "limits.models.b",
            "is not a model id in `models`",
        ),
        ("limits: {redis: {}}", "limits.redis", "missing required field `url`"),
        ("limits: {redis: {url: 'http://h'}}", "limits.redis.url", "is not a URL such as redis://"),
        ("limits: {redis: {url: 'redis://'}}", "limits.redis.url", "is not a URL such as redis://"),
        ("limits: {redis: {url: 'redis://h:x'}}", "limits.redis.url", "is not a URL such as redis://"),
        ("limits: {redis: {url: 'redis://h/keys'}}", "limits.redis.url", "is not a URL such as redis://"),
        ("limits: {redis: {url: 'redis://u:p@h'}}", "limits.redis.url", "use `username` and `password_file`"),
        ("limits: {redis: {url: 'redis://h', ca_file: /x}}", "limits.redis.ca_file", "applies only to a rediss:// URL"),
        ("limits: {redis: {url: 'redis://h', password_file: /x}}", "limits.redis.password_file", "there is no file"),
        ("limits: {redis: {url: 'redis://h', timeout: 0}}", "limits.redis.timeout", "not a duration"),
    ],
)
def test_a_mistake_is_refused_with_its_path(content: str, path: str, words: str) -> None:
    found = reasons(content)
    assert (found[0][0], words in found[0][1]) == (path, True), found


def test_limits_of_a_discovered_model_are_accepted() -> None:
    limits = parse(b"{catalog: {discover: true}, limits: {models: {'qwen3:8b': {rpm: 1}}}}").limits
    assert limits is not None
    assert limits.models == {"qwen3:8b": RateLimits(rpm=1)}


def test_redis_takes_all_of_its_keys(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("x")
    write_ca(tmp_path)
    places = f"password_file: {tmp_path}/password, ca_file: {tmp_path}/ca.pem"
    limits = parse(
        f"limits: {{redis: {{url: 'rediss://h:6380/3', username: u, {places}, timeout: 20ms}}}}".encode()
    ).limits
    assert limits is not None
    assert limits.redis is not None
    assert limits.redis == Redis(
        "rediss://h:6380/3", "u", FilePath(f"{tmp_path}/password"), FilePath(f"{tmp_path}/ca.pem"), limits.redis.timeout
    )
    assert limits.redis.timeout == 0.02


def test_without_the_section_nothing_is_limited() -> None:
    assert parse(b"models: {a: {}}").limits is None
