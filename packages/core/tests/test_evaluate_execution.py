"""`asr-lab evaluate`: the result says what was measured and how, in which batches and order."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from asr_lab.cli import main
from asr_lab.data.plan import ordered_batches
from asr_lab.evaluation.execution import Execution, together
from asr_lab.evaluation.options import EvaluateOptions
from asr_lab.evaluation.processes import Alone
from asr_lab.evaluation.sharing import devices, planned, warm_up_of
from asr_lab.testing.speech import write_corpus
from asr_lab.utils.errors import UserError

TEXTS = ["bed cab", "fade", "dace ace fed", "dab", "fed bead"]
Row = dict[str, Any]
Evaluate = Callable[..., Row]
DURATIONS = np.array([900, 2000, 500, 2000, 1500])


@pytest.fixture
def evaluate(
    checkpoint: Path, probe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> Evaluate:
    """Return a function that evaluates five utterances with more flags, and gives the result."""
    write_corpus(tmp_path / "data", TEXTS, seed=3)

    def command(flags: str = "", output: str = "out") -> Row:
        data = f"--dataset manifest:{tmp_path}/data/manifest.jsonl --output {tmp_path}/{output}"
        words = f"--checkpoint {checkpoint} {data} --workers 0 --device cpu {flags}"
        assert main(["evaluate", *words.split()]) == 0
        found: Row = json.loads((tmp_path / output / "result.json").read_text())
        return found

    return command


def options(**changes: object) -> EvaluateOptions:
    return replace(EvaluateOptions(checkpoint="", dataset=""), **changes)  # type: ignore[arg-type]


def test_a_result_says_where_and_how_it_was_measured(
    evaluate: Evaluate, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    found = evaluate("--batch-size 2 --warm-up 1 --precision bf16")
    execution = found["execution"]
    assert execution["device"] and execution["threads"] == torch.get_num_threads()
    told = {key: execution[key] for key in ("precision", "weights", "arithmetic")}
    assert told == {"precision": "bf16", "weights": "float32", "arithmetic": "bfloat16"}
    assert (execution["batch_size"], execution["order"]) == (2, "longest")
    assert (execution["batches"], execution["largest_batch"]) == (3, 2)
    assert (execution["devices"], execution["warm_up"]) == (1, 1)
    assert execution["parameters"] > 1000
    assert execution["peak_memory"] > 1e7
    assert found["rtfx"] >= found["rtfx_with_loading"] > 0
    lines = capsys.readouterr().out.splitlines()
    assert "x real time" in lines[1] and lines[1].endswith("x with reading files)")
    device = execution["device"]
    numbers = "bf16 (bfloat16 on float32 weights)"
    assert lines[3].startswith(f"speed  on {device}, {numbers}, batches of up to 2, 1 to warm up, ")


def test_fp32_computes_in_what_its_weights_are(evaluate: Evaluate) -> None:
    execution = evaluate()["execution"]
    assert execution["weights"] == execution["arithmetic"] == "float32"
    assert execution["warm_up"] == 0 and execution["batches"] == 1


def test_warming_up_changes_neither_hypotheses_nor_the_audio_that_speed_is_of(
    evaluate: Evaluate, tmp_path: Path
) -> None:
    cold, warm = evaluate("--warm-up 0", "cold"), evaluate("--warm-up 5 --batch-size 2", "warm")
    assert warm["execution"]["warm_up"] == 3, "there are no more batches"
    for key in ("audio_seconds", "utterances", "words"):
        assert cold[key] == warm[key]
    texts = [(tmp_path / name / "hypotheses.jsonl").read_bytes() for name in ("cold", "warm")]
    assert len(texts[0].splitlines()) == len(texts[1].splitlines()) == len(TEXTS)


def test_the_search_is_recorded_with_the_name_of_the_decoder(evaluate: Evaluate) -> None:
    greedy = evaluate(output="greedy")["decoding"]
    assert (greedy["decoder"], greedy["beam"]) == ("ctc", 1)
    flags = "--decoder ctc --beam 3 --token-bonus 0.5 --max-symbols 4 --length-penalty 0.2"
    wide = evaluate(flags, "wide")["decoding"]
    assert wide["decoder"] == "ctc" and wide["beam"] == 3
    assert (wide["token_bonus"], wide["max_symbols"], wide["length_penalty"]) == (0.5, 4, 0.2)


def test_hypotheses_are_in_the_order_of_the_data_set_whatever_that_of_recognition(
    evaluate: Evaluate, tmp_path: Path
) -> None:
    for order in ("longest", "dataset", "shuffled"):
        evaluate(f"--order {order} --batch-size 2", order)
        lines = (tmp_path / order / "hypotheses.jsonl").read_text().splitlines()
        assert [json.loads(line)["reference"] for line in lines] == TEXTS


def test_a_size_cuts_batches_of_that_many_and_seconds_cut_them_by_length() -> None:
    def cut(**changes: object) -> list[list[int]]:
        return [batch.indices.tolist() for batch in planned(options(**changes), DURATIONS)]

    assert cut(batch_size=2) == [[1, 3], [4, 0], [2]]
    assert cut(batch_size=64) == [[1, 3, 4, 0, 2]]
    assert cut(batch_size=2, order="dataset") == [[0, 1], [2, 3], [4]]
    assert cut(batch_seconds=4.0) == [[1, 3], [4, 0], [2]]
    assert cut(batch_seconds=4.0, order="dataset") == [[0, 1], [2, 3], [4]]
    mixed = cut(batch_size=2, order="shuffled")
    assert sorted(sum(mixed, [])) == [0, 1, 2, 3, 4] and sum(mixed, []) != [0, 1, 2, 3, 4]
    assert mixed == cut(batch_size=2, order="shuffled")


def test_padding_counts_also_where_the_longest_comes_last() -> None:
    found = ordered_batches(np.array([2, 0, 1]), DURATIONS, 4.0, 8)
    assert [batch.indices.tolist() for batch in found] == [[2, 0], [1]]


def test_a_gpu_warms_up_and_a_processor_does_not_unless_told() -> None:
    cpu, gpu = torch.device("cpu"), torch.device("cuda")
    assert (warm_up_of(gpu), warm_up_of(cpu)) == (2, 0)
    assert warm_up_of(gpu, options(warm_up=0).warm_up) == 0 and warm_up_of(cpu, 4) == 4


def test_devices_are_counted_before_the_work() -> None:
    assert devices(options(device="cpu", devices=3), Alone()) == ["cpu"] * 3
    assert devices(options(device="cpu"), Alone()) == ["cpu"]
    with pytest.raises(UserError, match="cannot be used under torchrun"):
        devices(options(device="cpu", devices=2), Alone(rank=0, size=2))


@pytest.mark.parametrize(
    ("name", "value"), [("devices", 0), ("batch_size", -1), ("warm_up", -1), ("workers", -2)]
)
def test_numbers_that_make_no_evaluation_are_refused(name: str, value: int) -> None:
    with pytest.raises(ValueError, match=f"{name.replace('_', '-')} must be . or more; got"):
        options(**{name: value})


def test_devices_add_up_and_the_largest_memory_counts() -> None:
    one = Execution(
        device="NVIDIA H100",
        devices=1,
        threads=1,
        precision="bf16",
        language_model="",
        weights="float32",
        arithmetic="bfloat16",
        order="longest",
        batch_size=0,
        batch_seconds=120.0,
        batches=3,
        largest_batch=8,
        warm_up=2,
        parameters=10,
        peak_memory=2_000_000_000,
    )
    two = together([one, replace(one, batches=2, largest_batch=9, peak_memory=1)])
    assert (two.devices, two.batches, two.largest_batch) == (2, 5, 9)
    assert two.sentence() == (
        "2 x NVIDIA H100, bf16 (bfloat16 on float32 weights), batches of up to 9, 2 to warm up,"
        " 2.0 GB"
    )
