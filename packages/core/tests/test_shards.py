"""The digest of a tensor does not depend on how it is shared out among processes."""

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from packaging.version import Version


@pytest.mark.slow
@pytest.mark.skipif(Version(torch.__version__) < Version("2.6"), reason="FSDP 2 came with 2.6")
@pytest.mark.skipif(find_spec("torch.distributed") is None, reason="torch is built without it")
def test_fsdp_and_any_cut_along_axes_give_the_digest_of_the_whole() -> None:
    script = Path(__file__).with_name("shards_together.py")
    done = subprocess.run(
        [sys.executable, "-W", "ignore", script],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    everywhere = json.loads(done.stdout.splitlines()[-1])
    assert len(everywhere) == 4
    for found in everywhere:
        assert found is not None, done.stderr[-4000:]
        assert found.pop("partial").startswith("weight has no digest while it is ")
        assert len(found) == 10
        assert [name for name, equal in found.items() if not equal] == []
