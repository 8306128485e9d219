"""Names of models that are equal to Ollama: said, not refused; and limits that one model is given twice: refused."""

import logging
from pathlib import Path

import pytest

from ai_gateway.__main__ import main
from ai_gateway.catalog.active import CurrentConfig, prepare
from ai_gateway.config.loading import ConfigError, parse
from ai_gateway.config.model_names import MOST_WARNINGS, ModelNames, warnings
from ai_gateway.config.types import Config


def told(content: str) -> list[str]:
    return [str(warning) for warning in warnings(ModelNames(parse(content.encode()).models))]


@pytest.mark.parametrize(
    "content",
    [
        "models: {llama3: , Llama3: {ollama: mistral}}",
        "models: {llama3: , library/llama3: }",
        "models: {llama3: , x: {ollama: mistral, aliases: [LLAMA3]}}",
    ],
)
def test_names_that_are_equal_but_for_case_are_warned_of(content: str) -> None:
    (warning,) = told(content)
    assert warning.startswith("models: 'llama3' and ")
    assert warning.endswith("any other spelling finds 'llama3'")


def test_names_of_one_model_may_be_equal() -> None:
    assert told("models: {llama3: {aliases: [Llama3]}, 'llama3:8b': , coder: }") == []


def test_many_warnings_are_cut_short() -> None:
    models = ", ".join(f"m{number}: , M{number}: " for number in range(100))
    assert len(told(f"models: {{{models}}}")) == MOST_WARNINGS + 1


def test_check_warns_and_says_ok(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "config.yml"
    path.write_text("models: {llama3: , Llama3: }")
    assert main(["check", str(path)]) == 0
    said = capsys.readouterr()
    assert "warning: models: 'llama3' and 'Llama3'" in said.err
    assert "ok (llama3, Llama3)" in said.out


def test_a_config_that_is_taken_warns_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    current = CurrentConfig(Config())
    with caplog.at_level(logging.WARNING):
        current.swap(prepare(parse(b"models: {llama3: , Llama3: }")))
    assert "any other spelling finds 'llama3'" in caplog.text


def test_one_model_has_limits_once() -> None:
    """Under whatever names."""
    content = "catalog: {discover: true}\nmodels: {llama3: }\nlimits: {models: {llama3: {rpm: 1}, LLAMA3: {rpm: 2}}}"
    with pytest.raises(ConfigError, match=r"limits\.models\.LLAMA3: is the same model as 'llama3'"):
        parse(content.encode())
