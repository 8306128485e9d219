"""YAML is read as plain values, within bounds, the same with libyaml and without it."""

import pytest
import yaml
from tests.cost import assert_cheap

from ai_gateway.config import yaml_text
from ai_gateway.config.yaml_text import MAX_NODES, YamlError, read_yaml


@pytest.fixture(params=["libyaml", "python"], autouse=True)
def _parser(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where PyYAML comes without libyaml, it is slower and says things in other words."""
    if request.param == "python":
        monkeypatch.delattr(yaml, "CSafeLoader")


@pytest.mark.parametrize(
    ("content", "value"),
    [
        ("", None),
        ("# a", None),
        ("---", None),
        ("null", None),
        ("{}", {}),
        ("\ufeffa: 1", {"a": 1}),
        ("%YAML 1.1\n---\na: b", {"a": "b"}),
        ("a: [1, 0x1f, 1.5, yes, ~, 'x', \"\\u00e9\", 1:30]", {"a": [1, 31, 1.5, True, None, "x", "é", 90]}),
        ("a:\n- {b: c}\n- - d\n", {"a": [{"b": "c"}, ["d"]]}),
        ("a: |\n  two\n  lines\nb: >\n  one\n  line\n", {"a": "two\nlines\n", "b": "one line\n"}),
        ("2: a\ntrue: b\n~: c", {2: "a", True: "b", None: "c"}),
        ("a: !!str 1\nb: !!int '2'\nc: ! 3", {"a": "1", "b": 2, "c": 3}),
        ("a: '<<'\n'<<': b", {"a": "<<", "<<": "b"}),
        ("a: &x b", {"a": "b"}),
        ("a: 😀", {"a": "😀"}),
    ],
)
def test_values_are_those_of_yaml(content: str, value: object) -> None:
    assert read_yaml(content.encode()) == value


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("a: 1\na: 2", "duplicate key 'a' at line 2, column 1"),
        ("1: a\n'1': b", "duplicate key '1' at line 2"),
        ("1: a\n0x1: b", "duplicate key '0x1' at line 2"),
        ("a: &x [1]\nb: *x", "aliases are not accepted at line 2, column 4"),
        ("<<: {a: 1}", "merge keys (<<) are not accepted at line 1, column 1"),
        ("? [a]\n: b", "a key cannot be a list or a mapping at line 1, column 3"),
        ("a: 1\n---\nb: 1", "a second document starts at line 2, column 1"),
        ("a: !!binary YQ==", "the tag tag:yaml.org,2002:binary is not accepted at line 1, column 4"),
        ("a: !!set {b}", "tag:yaml.org,2002:set is not accepted"),
        ("a: !!python/object/apply:os.system [ls]", "is not accepted at line 1, column 4"),
        ("a: !mine b", "the tag !mine is not accepted"),
        ("a: 2026-13-01", "'2026-13-01' is not a valid timestamp at line 1, column 4"),
        ("? 0x" + "f" * 5000 + "\n: 1", "a number has more than 1000 digits at line 1, column 3"),
        ("a: " + "9" * 5000, "a number has more than 1000 digits"),
        ("a: 1" + ":00" * 50000, "a number has more than 1000 digits"),
        ("a: " + "[" * 17, "nested deeper than 16 levels at line 1, column 19"),
        ("- " * 17, "nested deeper than 16 levels at line 1"),
        ("%TAG !a! x\n" * 20 + "---\na: b", "lines begin with %"),
        ("\r".join(f"%TAG !a{number}! x" for number in range(20)), "lines begin with %"),
        ('a: "\\ud800"', "not valid YAML"),
        ('a: "\\U00110000"', "not valid YAML"),
        ("a: {b", "at line 1, column"),
        ("\0", "not valid YAML"),
        ("a: \x01", "not valid YAML"),
    ],
)
def test_what_is_not_taken_is_told_with_its_place(content: str, words: str) -> None:
    with pytest.raises(YamlError) as refused:
        read_yaml(content.encode())
    assert words in str(refused.value)


def test_no_text_is_no_yaml() -> None:
    with pytest.raises(YamlError, match="not valid YAML"):
        read_yaml(b"a: \xff")


@pytest.mark.parametrize(
    "content", ["- a\n" * (MAX_NODES + 1), "[" + "1," * MAX_NODES + "]", "- {}\n" * (MAX_NODES + 1)]
)
def test_a_file_of_nodes_alone_is_refused(content: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Formerly 9 s of the event loop for 1 MiB."""
    monkeypatch.setattr(yaml_text, "MAX_NODES", 2000)  # without libyaml all of them take their time
    with pytest.raises(YamlError, match="more than 2000 keys and values"):
        read_yaml(content.encode())


def test_a_file_that_takes_too_long_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(yaml_text, "MAX_SECONDS", 0.0)
    with pytest.raises(YamlError, match="more than 0 s of CPU"):
        read_yaml(b"- a\n" * 1000)


def test_ten_thousand_models_take_little_time(request: pytest.FixtureRequest) -> None:
    """Formerly 1.6 s of CPU."""
    if "python" in request.node.name:
        pytest.skip("the bound is for libyaml")
    content = "models:\n" + "".join(f"  model{number}: {{version: 8b}}\n" for number in range(10_000))
    assert len(read_yaml(content.encode())["models"]) == 10_000
    assert_cheap(lambda: read_yaml(content.encode()), 0.8)
