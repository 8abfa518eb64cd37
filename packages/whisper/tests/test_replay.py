"""A run of the model can be replayed: the same bits after every step, three times."""

from pathlib import Path

import pytest

from asr_lab.testing.replays import replays


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_run_and_two_replays_have_not_one_digest_that_differs(
    precision: str, tmp_path: Path
) -> None:
    for found in replays("whisper", precision, tmp_path):
        assert (found.compared, found.equal_until, found.differs_at) == (3, 3, None), found
