"""Markers say what a test needs; a tier turns their skips into failures."""

import os

import pytest

from asr_lab.testing.tiers import LOWEST_CAPABILITY, PROMISES, lacking, too_low, usable

pytest_plugins = ["pytester"]

NEEDY = """
import pytest

@pytest.mark.needs("mx")
def test_needy() -> None:
    pass

def test_modest() -> None:
    pass
"""


@pytest.fixture
def outcomes(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    monkeypatch.delenv("ASR_LAB_TIER", raising=False)
    # All other plugins take seconds to load.
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    return pytester


def run(pytester: pytest.Pytester, source: str) -> pytest.RunResult:
    pytester.makepyfile(source)
    return pytester.runpytest_inprocess("--strict-markers", "-p", "asr_lab.testing.tiers")


@pytest.mark.skipif(not lacking("mx"), reason="this machine has mx")
def test_what_the_machine_lacks_is_skipped_and_says_why(outcomes: pytest.Pytester) -> None:
    result = run(outcomes, NEEDY)
    result.assert_outcomes(passed=1, skipped=1)


@pytest.mark.parametrize(("marked", "found"), [("@pytest.mark.gpu", ":4096:8"), ("", None)])
def test_tests_on_a_gpu_may_use_deterministic_kernels(
    marked: str, found: str | None, outcomes: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", "")  # so that it is put back
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG")
    run(outcomes, f"import pytest\n{marked}\ndef test_it() -> None:\n    pass\n")
    assert os.environ.get("CUBLAS_WORKSPACE_CONFIG") == found
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":16:8")
    run(outcomes, "import pytest\n@pytest.mark.gpu\ndef test_it() -> None:\n    pass\n")
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":16:8"


@pytest.mark.skipif(not lacking("mx"), reason="this machine has mx")
def test_what_a_tier_promises_and_the_machine_lacks_is_a_failure(
    outcomes: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ASR_LAB_TIER", "tests-b200")
    result = run(outcomes, NEEDY)
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(["*tests-b200 promises mx, but *"])
    monkeypatch.setenv("ASR_LAB_TIER", "tests-h100")
    run(outcomes, NEEDY).assert_outcomes(passed=1, skipped=1)


def test_a_tier_that_does_not_exist_is_refused(
    outcomes: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ASR_LAB_TIER", "tests-z9")
    result = run(outcomes, NEEDY)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*no tier 'tests-z9'; choose from tests-cuda, *"])


def test_a_feature_that_does_not_exist_fails_its_test(outcomes: pytest.Pytester) -> None:
    result = run(outcomes, NEEDY.replace("mx", "fp3"))
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(["*no feature 'fp3'; choose from cuda, fp16, *"])


@pytest.mark.skipif(not lacking("cuda"), reason="this machine has a GPU")
def test_the_gpu_marker_needs_a_gpu(outcomes: pytest.Pytester) -> None:
    run(outcomes, NEEDY.replace('needs("mx")', "gpu")).assert_outcomes(passed=1, skipped=1)


@pytest.mark.parametrize(
    ("feature", "enough", "short"),
    [
        ("fp16", (7, 0), (6, 1)),
        ("bf16", (8, 0), (7, 5)),
        ("flash", (8, 6), (7, 5)),
        ("fp8", (8, 9), (8, 6)),
        ("mx", (10, 0), (9, 0)),
    ],
)
def test_a_feature_comes_with_its_compute_capability(
    feature: str, enough: tuple[int, int], short: tuple[int, int]
) -> None:
    assert too_low(feature, enough, "GPU") == ""
    found = f"{short[0]}.{short[1]}"
    assert too_low(feature, short, "GPU").endswith(f"; GPU has {found}")


def test_higher_tiers_promise_all_that_lower_ones_do() -> None:
    promises = [set(features) for features in PROMISES.values()]
    assert all(lower < higher for lower, higher in zip(promises, promises[1:], strict=False))
    assert promises[-1] == set(LOWEST_CAPABILITY)


def test_a_gpu_is_usable_if_torch_has_kernels_that_run_on_it() -> None:
    assert usable((8, 6), ["sm_75", "sm_80"])
    assert usable((12, 0), ["sm_80", "compute_90"])
    assert not usable((7, 0), ["sm_75", "sm_80"])
    assert not usable((9, 0), ["sm_80", "sm_90a"])
    assert usable((10, 0), ["sm_100"])
