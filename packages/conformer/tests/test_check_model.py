"""`check_model` runs the contract on an installed model and says how it went."""

from collections.abc import Iterator

import pytest

from asr_lab.plugins import ModelSpec, installed_plugins
from asr_lab.testing import check_model
from asr_lab.utils.errors import UnknownNameError

BROKEN = ModelSpec(
    name="broken",
    summary="Claims a recipe for a preset that it does not have",
    model="asr_lab.models.conformer.model:ConformerASRModel",
    config="asr_lab.models.conformer.config:ConformerConfig",
    presets=("tiny",),
    recipes={"huge": {"train.epochs": 1}},
)


@pytest.fixture
def broken() -> Iterator[str]:
    registry = installed_plugins().registry
    with registry.registering("test"):
        registry.add(BROKEN)
    yield "test/broken"
    registry.forget("test")


def test_a_model_that_passes_is_counted_and_returns_0(capsys: pytest.CaptureFixture[str]) -> None:
    assert check_model("conformer", select="configuration") == 0
    assert capsys.readouterr().out.endswith("conformer/conformer: 3 passed, 0 skipped, 0 failed\n")


def test_a_model_that_fails_is_told_why_and_returns_1(
    broken: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert check_model(broken, select="configuration") == 1
    output = capsys.readouterr().out
    assert "test_every_preset_gives_a_configuration_and_tiny_is_one_of_them" in output
    assert output.endswith("test/broken: 2 passed, 0 skipped, 1 failed\n")


def test_running_no_test_at_all_is_not_a_success() -> None:
    assert check_model("conformer", select="nothing_of_that_name") == 1


def test_a_model_that_is_not_installed_is_an_error_of_the_user() -> None:
    with pytest.raises(UnknownNameError, match="no model 'conformr'; did you mean conformer"):
        check_model("conformr")
