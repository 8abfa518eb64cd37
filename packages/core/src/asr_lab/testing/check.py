"""Run the contract of models on an installed model, from outside any test suite."""

import sys
import tempfile
from pathlib import Path

import pytest

from asr_lab.plugins import ModelSpec, installed_plugins

MODULE = '''"""The contract of one model."""

from asr_lab.testing import ModelContract


class TestContract(ModelContract):
    model = {name!r}
'''


class _Tally:
    """Counts outcomes of tests."""

    def __init__(self) -> None:
        self.counts = {"passed": 0, "skipped": 0, "failed": 0}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Count a test once: its call, or the setup that kept it from being called."""
        if report.when == "call" or (report.when == "setup" and not report.passed):
            self.counts[report.outcome] += 1


def check_model(name: str, select: str = "") -> int:
    """Test the installed model `name` and print what failed, and a summary.

    `select` is pytest's `-k`: words of the tests to run, all if empty. Returns 0 if tests ran and
    none failed, else 1. Raises UnknownNameError if there is no such model,
    AmbiguousNameError if there are several.
    """
    plugin, spec = installed_plugins().registry.find(ModelSpec, name)
    qualified, tally = f"{plugin}/{spec.name}", _Tally()
    with tempfile.TemporaryDirectory() as folder:
        module, settings = Path(folder, "test_contract_of_model.py"), Path(folder, "pytest.ini")
        module.write_text(MODULE.format(name=qualified), encoding="utf-8")
        settings.write_text("[pytest]\n", encoding="utf-8")
        options = ["--quiet", "--no-header", "-rfs", "--tb=short", "--show-capture=no"]
        options.append("--import-mode=importlib")
        isolated = ["-c", str(settings), "--rootdir", folder, "-p", "no:cacheprovider"]
        chosen = ["-k", select] if select else []
        code = pytest.main([str(module), *options, *isolated, *chosen], plugins=[tally])
        # A second check in the same process must not find this module.
        sys.modules.pop(module.stem, None)
    print(f"{qualified}: " + ", ".join(f"{count} {kind}" for kind, count in tally.counts.items()))
    return 0 if code == pytest.ExitCode.OK and tally.counts["passed"] else 1
