"""What all tests of this package share."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeAlias

import jaxtyping
import pytest
from hypothesis import HealthCheck, settings

# A machine that is busy with something else makes no test fail.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")

DOCS = Path(__file__).parents[3] / "docs" / "export.md"
Shown: TypeAlias = type[Any]
"""A class of the documents, which declare no types."""


@pytest.fixture(scope="module")
def without_shape_checks() -> Iterator[None]:
    """Leave out the checks of shapes: while a graph is traced, sizes are no numbers."""
    before = jaxtyping.config.jaxtyping_disable
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", before)


@pytest.fixture(scope="session")
def documented() -> dict[str, Shown]:
    """Return the classes that the page on exports shows."""
    pytest.importorskip("onnxruntime")
    if not DOCS.is_file():
        pytest.skip("the documents are not beside this package")
    code = re.findall(r"^```python\n(.*?)^```$", DOCS.read_text("utf-8"), re.M | re.S)
    names: dict[str, Any] = {}
    exec(compile("\n".join(code), str(DOCS), "exec"), names)
    return names
