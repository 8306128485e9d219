"""`config.content` is completed with what other values say; where both say something different nothing is installed."""

from typing import Any

import pytest
import yaml
from tests.helm.running import HELMS, kind, refusal, rendered
from tests.helm.worlds import SINGLE, World, files_of, objects_of

from ai_gateway.config.loading import parse

pytestmark = pytest.mark.cluster

Values = dict[str, Any]
ON: Values = {"auth": {"methods": ["kubernetes"]}, "callers": [], "limits": {"default": {"rpm": 6}}}
TLS: Values = {"enabled": True, "existingSecret": "ours"}
POSTGRESQL: Values = {"postgresql": {"existingSecret": "ours"}, "key": {"existingSecret": "ours"}}


def _text(content: str, values: Values | None = None, helm: str = "helm4") -> str:
    given = dict(values or {})
    config = {**given.pop("config", {}), "content": content}
    objects = rendered(helm, values={"config": config, **given})
    (config_map,) = (one for one in kind(objects, "ConfigMap") if one["metadata"]["name"].endswith("-models"))
    text: str = config_map["data"]["config.yml"]
    return text


def _file(content: str, values: Values | None = None, helm: str = "helm4") -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load(_text(content, values, helm))
    return loaded


@pytest.mark.parametrize("helm", HELMS)
def test_what_it_lacks_comes_from_the_values_as_if_models_alone_had_been_replaced(helm: str) -> None:
    values: Values = {
        "config": {**ON, "catalog": {"discover": True}, "timeouts": {"queue": "1m"}, "audit": {"mode": "strict"}},
        "tls": {**TLS, "clientCAKey": "ca.crt"},
        "discovery": {"namespaces": ["gpu"], "labelSelector": "app=ours"},
    }
    with_models = {**values, "config": {**values["config"], "models": {"mine": {}}}}
    (whole,) = (one for one in kind(rendered(helm, values=with_models), "ConfigMap"))
    assert _file("models: {mine: {}}\n", values, helm) == yaml.safe_load(whole["data"]["config.yml"])


def test_what_protects_stays_on_and_must_stay_in_the_file() -> None:
    objects = rendered("helm4", values={"config": {"content": "models: {mine: {}}", **ON}, "tls": TLS})
    (deployment,) = kind(objects, "Deployment")
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    environment = {entry["name"]: entry.get("value") for entry in container["env"]}
    assert environment["AI_GATEWAY_REQUIRE"] == "auth,callers,limits,tls"
    assert kind(objects, "ClusterRole")  # the right to review tokens


COMMENTED = "# ours\nmodels:   # those we pay for\n  mine: {}\n\n# the end\n"


@pytest.mark.parametrize(
    "content",
    [
        COMMENTED,
        "---\n" + COMMENTED,
        "# first\n--- # a document\n" + COMMENTED,
        "%YAML 1.1\n---\n" + COMMENTED,
        COMMENTED.rstrip("\n"),
        COMMENTED + "...\n",
        COMMENTED + "\n---\n\n",
        COMMENTED.replace("\n", "\r\n"),
        "\ufeff" + COMMENTED,
        "models: {mine: {}}\nqueue:\n  max_waiting: 1000000\n",
        "models: {mine: {aliases: ['a#b', 'c*d']}}\n",
    ],
    ids=repr,
)
@pytest.mark.parametrize("helm", HELMS)
def test_its_text_stays_as_it_is(content: str, helm: str) -> None:
    text = _text(content, {"config": ON}, helm)
    kept = content.rstrip("\n").removesuffix("...").removesuffix("---").rstrip("\n")
    assert text.startswith(kept.rstrip())
    config = parse(text.encode())
    assert (list(config.models), config.auth.methods, config.callers) == (["mine"], ("kubernetes",), ())


@pytest.mark.parametrize(
    "content",
    [
        "{models: {mine: {}}}",
        '{\n"models": {\n"mine": {}\n}\n}\n',
        "# as JSON\n{models: {mine: {}}}",
        "  models:\n    mine: {}\n",
        "models: {mine: &a {version: latest}, other: *a}\n",
        "timeouts:\nmodels: {mine: {}}\n",
        '"timeouts":\nmodels: {mine: {}}\n',
    ],
)
@pytest.mark.parametrize("helm", HELMS)
def test_what_nothing_can_be_added_to_is_written_anew(content: str, helm: str) -> None:
    text = _text(content, {"config": {**ON, "timeouts": {"queue": "1m"}}}, helm)
    config = parse(text.encode())
    assert config.models["mine"].version == "latest"
    assert config.auth.methods == ("kubernetes",)
    assert float(config.timeouts.queue) == 60


def test_without_anything_to_add_a_whole_file_is_left_to_the_letter() -> None:
    whole = COMMENTED + "auth: {methods: [none]}\ncallers: all\nlimits: none\ntls: none\naudit: {mode: best_effort}\n"
    assert _text(whole) == whole


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("# nothing\n", "is empty"),
        (" \n", "is empty"),
        ("[1]", "config.content"),
        ("models", "config.content"),
        ("models: {a: {}}\n---\nmodels: {b: {}}\n", "a second document"),
        ("--- {models: {a: {}}}\n---\nlimits: none\n", "a second document"),
        ("models: {a: {}}\n...\nlimits: none\n", "a second document"),
        ("auth: {methods: [kubernetes]}\nmodels: {}\nauth: {methods: [none]}\n", '"auth" stands twice'),
        ("models: {}\n'models': {a: {}}\n", '"models" stands twice'),
        ("auth:\nmodels: {}\n", "auth is empty"),
        ("callers:\n", "callers is empty"),
        ("limits:\n", "limits is empty"),
        ("auth: none\n", "auth: none"),
        ("auth: {methods: none}\n", "auth.methods"),
        ("models: [a]\n", "models: [a]"),
        ("models: {a: b}\n", "models.a"),
    ],
)
def test_what_the_gateway_would_refuse_is_refused_before(content: str, said: str) -> None:
    for helm in HELMS:
        assert said in refusal(helm, {"config": {"content": content}})


DIFFERENT: list[tuple[str, Values, tuple[str, str]]] = [
    ("models: {a: {}}", {"config": {"models": {"b": {}}}}, ('"models"', "config.models")),
    ("auth: {methods: [none]}", {"config": {"auth": {"methods": ["kubernetes"]}}}, ('"auth"', "config.auth")),
    ("callers: all", {"config": {"callers": []}}, ('"callers"', "config.callers")),
    ("callers: []", {"config": {"callers": [{"match": {"key": "a"}}]}}, ('"callers"', "config.callers")),
    ("limits: none", {"config": {"limits": {"default": {"rpm": 6}}}}, ('"limits"', "config.limits")),
    ("limits: {default: {rpm: 7}}", {"config": {"limits": {"default": {"rpm": 6}}}}, ('"limits"', "config.limits")),
    ("audit: {mode: blocking}", {"config": {"audit": {"mode": "strict"}}}, ('"audit"', "config.audit")),
    ("catalog: {discover: true}", {"config": {"catalog": {"discover": False}}}, ('"catalog"', "config.catalog")),
    ("timeouts: {queue: 59s}", {"config": {"timeouts": {"queue": "1m"}}}, ('"timeouts"', "config.timeouts")),
    ("hosts: [a.test]", {"config": {"hosts": ["b.test"]}}, ('"hosts"', "config.hosts")),
    ("tls: none", {"tls": TLS}, ("tls is", "tls.enabled")),
    ("tls: {certificate: /a, key: /b}", {"tls": TLS}, ("tls.certificate", "tls.enabled")),
    (
        "tls: {client_ca: none}",
        {"tls": {**TLS, "clientCAKey": "ca.crt"}},
        ("tls.client_ca", "tls.clientCAKey"),
    ),
    ("discovery: {static: ['http://a']}", {"discovery": {"mode": "dns"}}, ("discovery.static", "mode dns")),
    ("discovery: {static: ['http://a']}", {"discovery": {"namespaces": ["a"]}}, ("discovery.static", "mode pods")),
    (
        "discovery: {kubernetes: {namespaces: [a]}}",
        {"discovery": {"namespaces": ["b"]}},
        ("discovery.kubernetes.namespaces", "discovery.namespaces"),
    ),
    (
        "discovery: {kubernetes: {label_selector: app=a}}",
        {"discovery": {"labelSelector": "app=b"}},
        ("label_selector", "discovery.labelSelector"),
    ),
    ("audit: {store: jsonl}", {"audit": POSTGRESQL}, ("audit.store", "audit.postgresql.existingSecret")),
    (
        "auth: {methods: [keys], keys_file: /ours}",
        {"auth": {"keysSecret": {"name": "ours"}}},
        ("auth.keys_file", "auth.keysSecret.name"),
    ),
]


@pytest.mark.parametrize(("content", "values", "named"), DIFFERENT)
@pytest.mark.parametrize("helm", HELMS)
def test_a_section_in_both_that_differs_is_refused_and_both_are_named(
    content: str, values: Values, named: tuple[str, str], helm: str
) -> None:
    given = {**values, "config": {**values.get("config", {}), "content": content}}
    said = refusal(helm, given)
    assert "config.content" in said
    assert all(name in said for name in named), said


@pytest.mark.parametrize("content", [content for content, _, _ in DIFFERENT if "keys" not in content])
def test_values_left_at_their_defaults_never_differ(content: str) -> None:
    assert _file(content).items() >= yaml.safe_load(content).items()


@pytest.mark.parametrize(
    ("content", "config"),
    [
        ("timeouts: {queue: 60s, stream: 2h}", {"timeouts": {"stream": "120m", "queue": "1m"}}),
        ("timeouts: {queue: 60}", {"timeouts": {"queue": "1m"}}),
        ("body: {max_bytes: 20MiB}", {"body": {"max_bytes": 20971520}}),
        ("models: {a: }", {"models": {"a": {}}}),
        ("limits: none", {"limits": "none"}),
        ("auth: {methods: [kubernetes]}", {"auth": {"methods": ["kubernetes"]}}),
    ],
)
def test_what_means_the_same_does_not_differ(content: str, config: Values) -> None:
    assert _text(content, {"config": config}).startswith(content)


@pytest.mark.parametrize(
    ("content", "values", "section"),
    [
        (
            "auth:\n  # of ours\n  methods: [keys]\n",
            {"auth": {"keysSecret": {"name": "ours"}}},
            {"auth": {"methods": ["keys"], "keys_file": "/etc/ai-gateway-keys/keys.yaml"}},
        ),
        (
            "limits: {redis: {url: 'rediss://a'}}\n",
            {"limits": {"redis": {"existingSecret": "ours", "caKey": "ca.crt"}}},
            {
                "limits": {
                    "redis": {
                        "url": "rediss://a",
                        "password_file": "/etc/ai-gateway-redis/password",
                        "ca_file": "/etc/ai-gateway-redis/ca.crt",
                    }
                }
            },
        ),
        (
            "audit:\n  mode: strict\n",
            {"audit": POSTGRESQL},
            {
                "audit": {
                    "mode": "strict",
                    "store": "postgresql",
                    "dsn_file": "/etc/ai-gateway-postgresql/dsn",
                    "key_file": "/etc/ai-gateway-audit/key",
                }
            },
        ),
        (
            "discovery: {kubernetes: {watch_timeout: 1m}}\n",
            {"discovery": {"namespaces": ["gpu"]}},
            {"discovery": {"kubernetes": {"watch_timeout": "1m", "namespaces": ["gpu"]}}},
        ),
        (
            "discovery: {kubernetes: {label_selector: app=theirs}}\n",
            {"ollama": {"enabled": True}},
            {"discovery": {"kubernetes": {"label_selector": "app=theirs"}}},
        ),
    ],
    ids=["keys", "redis", "postgresql", "namespaces", "own Ollama"],
)
def test_what_other_values_need_in_a_section_of_it_is_written_into_it(
    content: str, values: Values, section: Values
) -> None:
    text = _text(f"# before\nmodels: {{a: {{}}}}\n{content}\n# after\nqueue: {{max_waiting: 1}} # one\n", values)
    assert yaml.safe_load(text).items() >= section.items()
    assert text.startswith("# before\nmodels: {a: {}}\n")
    assert "# after\nqueue: {max_waiting: 1} # one\n" in text


@pytest.mark.parametrize("world", [world for world in SINGLE if "existing" not in world[0]], ids="+".join)
def test_the_text_that_the_chart_wrote_is_taken_over_to_the_letter(world: World) -> None:
    """`kubectl get` and `--set-file`, with the values as they are: nothing in it differs from them."""
    (file,) = files_of(world)
    values = yaml.safe_load(file.read_text()) or {}
    (written,) = (one for one in kind(objects_of(world), "ConfigMap") if one["metadata"]["name"].endswith("-models"))
    text = written["data"]["config.yml"]
    assert _text(text, values) == text


def test_the_service_speaks_as_the_gateway_does() -> None:
    content = "models: {a: {}}\ntls: {certificate: /ours/tls.crt, key: /ours/tls.key}\n"
    (service,) = kind(rendered("helm4", values={"config": {"content": content}}), "Service")
    (port,) = service["spec"]["ports"]
    assert (port["name"], port["appProtocol"], port["targetPort"]) == ("https", "https", "https")
