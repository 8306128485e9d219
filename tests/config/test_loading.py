"""config.yml is accepted or refused as a whole, and each reason names its path."""

from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.config.pem_files import write_ca

from ai_gateway.config.loading import MAX_BYTES, ConfigError, load, parse
from ai_gateway.config.types import Config, model_name, restart_required


def reasons(content: bytes) -> list[tuple[str, str]]:
    with pytest.raises(ConfigError) as caught:
        parse(content)
    return [(reason.path, reason.message) for reason in caught.value.reasons]


@pytest.mark.parametrize(
    ("content", "path", "words"),
    [
        ("model: {}", "model", "unknown key; the known keys are models"),
        ("1: {}", "1", "unknown key"),
        ("models: []", "models", "expected a mapping"),
        ("audit: {store: oracle}", "audit.store", "; use one of jsonl, none, otlp, postgresql, sqlite"),
        ("auth: {methods: [api]}", "auth.methods[0]", "; use one of keys, kubernetes, none, oidc"),
        ("log: {levels: {server: loud}}", "log.levels[...]", "; use one of debug, error, info, warning"),
        ("log: {levels: {edge: info}}", "log.levels", "; use one of audit, auth, balancing"),
        ("models: {a: {versoin: x}}", "models.a", "unknown key `versoin`"),
        ("models: {a: {version: 13}}", "models.a.version", "put it in quotes"),
        ("models: {a: {version: 1.5}}", "models.a.version", "put it in quotes"),
        ("models: {a: 7}", "models.a", "expected a mapping"),
        ("models: {7: {}}", "models.7", "expected text"),
        ("models: {a: {max_tokens: 0}}", "models.a.max_tokens", ">= 1"),
        ("models: {a: {max_tokens: ten}}", "models.a.max_tokens", "expected a whole number"),
        ("models: {a: {slots: 0}}", "models.a.slots", ">= 1"),
        ("balancing: {affinity_headers: ['x chat']}", "balancing.affinity_headers[0]", "regex"),
        ("balancing: {affinity_headers: ['']}", "balancing.affinity_headers[0]", "regex"),
        ("balancing: {affinity_headers: x-chat}", "balancing.affinity_headers", "expected a list"),
        ("models: {a: {max_waiting: -1}}", "models.a.max_waiting", ">= 0"),
        ("models: {a: {aliases: code}}", "models.a.aliases", "expected a list"),
        ("models: {a: {aliases: ['']}}", "models.a.aliases[0]", "length >= 1"),
        ("models: {a: {aliases: ['b c']}}", "models.a.aliases[0]", "regex"),
        ("models: {'b c': {ollama: x}}", "models.b c", "regex"),
        ("models: {'': {ollama: x}}", "models.", "length >= 1"),
        ("models: {a: {timeouts: {idle: never}}}", "models.a.timeouts.idle", "'never' is not a duration"),
        ("models: {a: {timeouts: {warmup: 1s}}}", "models.a.timeouts", "unknown key `warmup`"),
        ("models: {a/../b: }", "models.a/../b", "not a name that Ollama accepts"),
        ("models: {a: {ollama: 'http://evil/x'}}", "models.a", "not a name that Ollama accepts"),
        ("models: {a: {ollama: 'x:1', version: '2'}}", "models.a.version", "already names a tag"),
        ("models: {a: {aliases: [b]}, b: }", "models.a.aliases", "'b' is already the id of a model"),
        ("models: {a: {aliases: [c]}, b: {aliases: [c]}}", "models.b.aliases", "'c' is already an alias of a"),
        ("models: {a: {aliases: [c, c]}}", "models.a.aliases", "already an alias of a"),
        ("timeouts: {connect: 2 s}", "timeouts.connect", "not a duration"),
        ("timeouts: {conect: 2s}", "timeouts", "unknown key `conect`"),
        ("timeouts: 5", "timeouts", "expected a mapping"),
        ("discovery: {static: [ftp://h]}", "discovery.static[0]", "not a http:// or https:// URL"),
        ("discovery: {static: [http://a, 'http://b:x']}", "discovery.static[1]", "no valid port"),
        (
            "discovery: {static: [{url: http://a, ca_file: /nowhere/ca}]}",
            "discovery.static[0].ca_file",
            "there is no file",
        ),
        ("discovery: {static: [{ca_file: x}]}", "discovery.static[0]", "missing required field `url`"),
        ("discovery: {consul: x}", "discovery", "unknown key `consul`"),
        ("balancing: {retry_budget: 2}", "balancing.retry_budget", "<= 1"),
        ("queue: {max_waiting: -1}", "queue.max_waiting", ">= 0"),
        ("queue: {wait_for_endpoints: -1}", "queue.wait_for_endpoints", "is not a duration or 0; write one such as"),
        ("log: {level: off}", "log.level", "use one of debug, error, info, warning"),
        ("audit: {store: off}", "audit.store", "use one of jsonl, none, otlp, postgresql, sqlite"),
        ("balancing: {loads: off}", "balancing.loads", "got true or false; use one of always, auto, never"),
        ("body: {max_bytes: 5 apples}", "body.max_bytes", "not a size"),
        ("body: {max_bytes: 65MiB}", "body.buffered_bytes", "smaller than body.max_bytes"),
        ("tls: {certificate: /nowhere/c, key: /nowhere/k}", "tls.certificate", "there is no file"),
        ("tls: {certificate: c}", "tls", "missing required field `key`"),
        ("trusted_proxies: [10.0.0.0/8, nonsense]", "trusted_proxies[1]", "not an IP address or network"),
        ("cors: {origins: '*'}", "cors.origins", "expected a list"),
        ("compatibility: {reasoning_content: 1}", "compatibility.reasoning_content", "expected true or false"),
        ("catalog: {discover: 'yes'}", "catalog.discover", "expected true or false"),
        ("listen: 8080", "listen", "put it in quotes"),
        ("listen: nonsense", "listen", "is not HOST:PORT"),
        ("admin: '127.0.0.1:70000'", "admin", "is not HOST:PORT"),
        ("cors: {origins: ['https://x/']}", "cors.origins[0]", "not an origin"),
        ("cors: {origins: ['*', 'https://*.com']}", "cors.origins[1]", "two labels or more"),
        ("cors: {origins: ['https://*.co.uk']}", "cors.origins[0]", "not a registry's"),
        ("cors: {origins: ['https://a*.example.com']}", "cors.origins[0]", "may stand for a port"),
        ("cors: {origins: ['https://*']}", "cors.origins[0]", "moz-extension://*"),
        ("hosts: ['http://a']", "hosts[0]", "without scheme and port"),
        ("hosts: [a, 'a:80']", "hosts[1]", "without scheme and port"),
        ("hosts: ['*.com']", "hosts[0]", "two labels or more"),
        ("connections: {idle: 0}", "connections.idle", "not a duration above 0"),
        ("models: {a: {ollama: m, slots: 2}, b: {ollama: m}}", "models.b.slots", "the same as for 'a'"),
        (
            "models: {a: {ollama: m}, b: {ollama: 'M:latest', max_waiting: 1}}",
            "models.b.max_waiting",
            "the same as for 'a'",
        ),
    ],
)
def test_a_reason_names_its_path_and_what_is_wrong(content: str, path: str, words: str) -> None:
    """So that you find the line."""
    found = reasons(content.encode())
    assert any(where == path and words in what for where, what in found), found
    assert not any("at `" in what for _, what in found)  # where it is stands in the path alone


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"models: {a: {}", "not valid YAML"),
        (b"models:\n\t- a", "not valid YAML"),
        (b"\xff", "not valid YAML"),
        (b"\x00", "not valid YAML"),
        (b"[]", "top level must be a mapping"),
        (b"models", "top level must be a mapping"),
        (b"a: 1\n---\nb: 2", "not valid YAML"),
        (b"models: {a: }\nmodels: {b: }", "duplicate key 'models'"),
        (b"models: {a: {}, a: {}}", "duplicate key 'a'"),
        (b"a: &x [1]\nb: *x", "aliases are not accepted"),
        (b"a: !!python/object/apply:os.system [ls]", "not valid YAML"),
        (b"a: 2026-13-01", "not valid YAML"),
        (b"{" * 1000, "a key cannot be a list or a mapping"),
        (b"a: " + b"[" * 17 + b"]" * 17, "nested deeper than 16"),
        (b"{a: " * 5000 + b"}" * 5000, "nested deeper than 16"),
        (b"#" * (MAX_BYTES + 1), "larger than"),
        (b"? [a]\n: b", "not valid YAML"),
        (b"? {a: b}\n: c", "not valid YAML"),
        (b"a: !!int ''", "not valid YAML"),
        (b"a: !!timestamp x", "not valid YAML"),
        (b"a: !!bool x", "not valid YAML"),
        (b"a: !!float x", "not valid YAML"),
    ],
)
def test_invalid_yaml_is_refused_as_a_whole(content: bytes, words: str) -> None:
    """Bombs, doubled keys and tags that would run something included."""
    ((path, what),) = reasons(content)
    assert path == ""
    assert words in what


def test_all_reasons_come_at_once() -> None:
    """So that you can fix the whole file."""
    found = reasons(b"modles: {}\nmodels: {a: {x: 1}, b: {version: 3}}\nqueue: {y: 1}")
    assert [path for path, _ in found] == ["modles", "models.a", "models.b.version", "queue"]


EMPTY = [
    b"",
    b" \n\t",
    b"# nothing\n",
    b"null",
    b"~",
    b"---",
    b"--- \n...\n",
    b"{}",
    b"{ }  # x",
    b"\xef\xbb\xbf",
    b"\n" * 99,
]


@pytest.mark.parametrize("content", EMPTY)
def test_an_empty_file_is_refused(content: bytes) -> None:
    """It may be cut or half written. Formerly it turned off everything, authentication included."""
    ((path, message),) = reasons(content)
    assert path == ""
    assert message.startswith(("is empty", "not valid YAML"))


def test_the_defaults_are_the_documented_ones() -> None:
    """Safe without a line of config."""
    config = Config()
    t = config.timeouts
    phases = [t.connect, t.queue, t.first_byte, t.idle, t.total, t.stream, t.heartbeat]
    assert [float(seconds) for seconds in phases] == [2, 30, 300, 300, 600, 1800, 15]
    assert (config.body.max_bytes, config.body.buffered_bytes) == (20 << 20, 64 << 20)
    assert (config.balancing.slots, config.balancing.retry_budget) == (1, 0.2)
    assert config.cors.origins == ()
    assert config.trusted_proxies == ()
    assert config.tls is None
    assert not config.catalog.discover
    assert not config.compatibility.reasoning_content


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("2", 2), ("0.5", 0.5), ("500ms", 0.5), ("2s", 2), ("1.5m", 90), ("1h", 3600), ("30d", 2592000),
     ("'3'", None),
     ("0", None), ("0s", None), ("-1", None), ("1w", None), ("1 s", None), (".inf", None), (".nan", None),
     ("true", None),
     ("null", None), ("[1]", None), ("1e3", None), ("1S", None), ("9" * 400, None), ("9" * 400 + "s", None)],
)  # fmt: skip
def test_durations_have_units(text: str, seconds: float | None) -> None:
    """Or are plain seconds; nothing is guessed, and nothing is without an end."""
    content = f"timeouts: {{idle: {text}}}".encode()
    if seconds is None:
        assert reasons(content)[0][0] == "timeouts.idle"
    else:
        assert parse(content).timeouts.idle == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("text", "size"),
    [("512", 512), ("512B", 512), ("64KiB", 65536), ("1KB", 1000), ("2MiB", 2 << 20), ("'1GB'", 10**9), ("0", None),
     ("-1", None), ("1.5MiB", None), ("1 KiB", None), ("1kb", None), ("true", None), ("1.0", None), ("ten", None)],
)  # fmt: skip
def test_sizes_have_units(text: str, size: int | None) -> None:
    """Or are plain bytes."""
    content = f"body: {{max_bytes: {text}, buffered_bytes: 1GiB}}".encode()
    if size is None:
        assert reasons(content)[0][0] == "body.max_bytes"
    else:
        assert parse(content).body.max_bytes == size


def test_the_models_of_the_readme_are_read() -> None:
    """Ids, names, tags, limits and aliases."""
    config = parse(
        b"models:\n  llama3: {version: latest}\n  coder: {ollama: codellama, version: 13b, max_tokens: 2048, "
        b"aliases: [code]}\n  hf: {ollama: 'hf.co/a/b:Q8'}\n  'qwen3:8b':\n"
    )
    names = {model_id: model_name(model_id, model) for model_id, model in config.models.items()}
    assert names == {"llama3": "llama3:latest", "coder": "codellama:13b", "hf": "hf.co/a/b:Q8", "qwen3:8b": "qwen3:8b"}
    assert config.models["coder"].aliases == ("code",)


def test_a_url_may_have_its_own_certificate_authority(tmp_path: Path) -> None:
    """Per upstream."""
    ca = write_ca(tmp_path)
    config = parse(f"discovery: {{static: [http://a, {{url: https://b, ca_file: {ca}}}]}}".encode())
    assert config.discovery is not None
    assert config.discovery.static is not None
    assert len(config.discovery.static) == 2


def test_a_config_cannot_be_changed() -> None:
    """A reload makes a new one."""
    with pytest.raises(AttributeError):
        Config().queue.max_waiting = 3  # type: ignore[misc]  # that is the test


def test_an_unreadable_file_gives_a_reason(tmp_path: Path) -> None:
    """In words."""
    with pytest.raises(ConfigError, match="No such file"):
        load(tmp_path / "nowhere.yml")
    with pytest.raises(ConfigError, match="directory"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("content", "paths"),
    [
        (b"models: {}", []),
        (b"listen: ':1'", ["listen"]),
        (b"admin: ':1'\nlisten: ':2'", ["listen", "admin"]),
        (b"models: {a: }", []),
    ],
)
def test_only_keys_that_are_bound_once_need_a_restart(content: bytes, paths: list[str]) -> None:
    """Everything else applies live."""
    assert restart_required(Config(), parse(content)) == paths


_WORDS = st.sampled_from(
    ["models", "a", ":", ": ", "\n", "  ", "{", "}", "[", "]", ",", "-", "- ", "? ", "&x", "*x", "!!int", "!!set",
     "!!map", "!!omap", "!!binary", "!!timestamp", "<<", "'", '"', "|", ">", "1", "1e9", "0x", "~", "timeouts", "idle",
     "#", "%", "@", "static", "discovery", "version", "\t", "---", "...", "2026-01-01", "=", "!", "tls"]
)  # fmt: skip


@settings(max_examples=300, deadline=None, derandomize=True, database=None)
@given(st.one_of(st.lists(_WORDS, max_size=12).map(lambda words: "".join(words).encode()), st.binary(max_size=30)))
def test_any_content_is_accepted_or_refused(content: bytes) -> None:
    """A watcher that read nonsense goes on watching."""
    with suppress(ConfigError):
        assert isinstance(parse(content), Config)


@pytest.mark.parametrize("text", ['models: {"a\\ud800": {x: 1}}', 'models: {a: {ollama: "b\\udfff"}}'])
def test_half_a_surrogate_pair_is_refused(text: str) -> None:
    """The reason can be written as JSON and into a log."""
    with pytest.raises(ConfigError) as refused:
        parse(text.encode())
    assert "not valid YAML" in str(refused.value)
    str(refused.value).encode()
