"""Valid configs that `check` warns of."""

from pathlib import Path

import pytest

from ai_gateway.__main__ import main


@pytest.mark.parametrize("config", ["admin: ':8080'", "listen: 127.0.0.1:9090"])
def test_check_warns_of_an_address_that_equals_the_other_default(
    config: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A flag may keep them apart, so it is not a mistake."""
    path = tmp_path / "config.yml"
    path.write_text(config)
    assert main(["check", str(path)]) == 0
    assert "collide" in capsys.readouterr().err


def test_check_warns_of_copies_that_the_gateway_will_not_load(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As the log does when the gateway starts with that config."""
    path = tmp_path / "config.yml"
    path.write_text("models: {a: {resident: 1, policy: round_robin}}")
    assert main(["check", str(path)]) == 0
    assert "warning: models.a: resident has no effect" in capsys.readouterr().err
