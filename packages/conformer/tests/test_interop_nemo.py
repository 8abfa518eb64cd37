"""Archives that NeMo 3.0.0 wrote give NeMo's numbers and text; bad ones are refused in one line."""

import io
import pickle
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file
from torch import Tensor

from asr_lab.audio.features import features as compute
from asr_lab.audio.features import to_float
from asr_lab.audio.recipes import recipe
from asr_lab.checkpoints import CheckpointError, UnsafeCheckpointError, read_portable
from asr_lab.cli import main
from asr_lab.models.base import Batch, DecodingOptions, Sequences
from asr_lab.models.conformer.interop import read_nemo
from asr_lab.utils.errors import UserError

FIXTURES = Path(__file__).parent / "fixtures" / "nemo"
HEADS = {"ctc": "ctc", "rnnt": "rnnt", "tdt": "tdt", "hybrid": "rnnt+ctc"}
TOLERANCE = 1e-4
Files = dict[str, bytes]


def golden(name: str) -> dict[str, Tensor]:
    return load_file(FIXTURES / "sound.safetensors") | load_file(FIXTURES / f"{name}.safetensors")


def sequences(found: dict[str, Tensor]) -> Sequences:
    return Sequences(found["features"], found["frames"].long())


@pytest.mark.parametrize("name", HEADS)
def test_the_encoder_gives_the_output_of_nemo(name: str) -> None:
    model, _ = read_nemo(FIXTURES / f"{name}.nemo")
    found = golden(name)
    assert (model.config.head, model.config.bias) == (HEADS[name], name != "tdt")
    assert model.config.freeze_statistics
    with torch.no_grad():
        encoded = model.encoder(sequences(found)).sequences
    assert encoded.lengths.tolist() == found["steps"].tolist()
    for row, steps in enumerate(encoded.lengths):
        assert torch.allclose(
            encoded.values[row, :steps], found["encoded"][row, :steps], atol=TOLERANCE
        )


@pytest.mark.parametrize("name", HEADS)
def test_the_heads_give_the_scores_of_nemo(name: str) -> None:
    model, _ = read_nemo(FIXTURES / f"{name}.nemo")
    found, blank = golden(name), model.config.blank_id
    with torch.no_grad():
        encoded = model.encoder(sequences(found))
        if model.head is not None:
            scores = model.head.log_probs(encoded)
            for row, steps in enumerate(found["steps"]):
                wanted = found["ctc"][row, :steps]
                assert torch.allclose(scores[row, :steps], wanted, atol=TOLERANCE)
        if (transducer := model.transducer) is not None:
            tokens = torch.nn.functional.pad(found["tokens"], (1, 0), value=blank)
            predicted, _ = transducer.predict(tokens)
            joint = transducer.joint(transducer.project(encoded.sequences.values), predicted)
            # On a CPU, NeMo normalises tokens and durations together; every fourth step is kept.
            normalised, wanted = joint[:, ::4].log_softmax(-1), found["joint"]
            for row, (steps, said) in enumerate(
                zip(found["steps"], found["token_lengths"], strict=True)
            ):
                places = (row, slice(-(-int(steps) // 4)), slice(int(said) + 1))
                assert torch.allclose(normalised[places], wanted[places], atol=TOLERANCE)


@pytest.mark.parametrize(
    ("name", "kind", "key"),
    [
        ("ctc", "ctc", "ctc_loss"),
        ("rnnt", "rnnt", "loss"),
        ("tdt", "tdt", "loss"),
        ("hybrid", "rnnt", "loss"),
        ("hybrid", "ctc", "ctc_loss"),
    ],
)
def test_the_loss_of_every_utterance_is_that_of_nemo(name: str, kind: str, key: str) -> None:
    model, _ = read_nemo(FIXTURES / f"{name}.nemo")
    found = golden(name)
    assert model.config.sigma == 0.02, "NeMo's, of which the stored losses are"
    for row, wanted in enumerate(found[key].tolist()):
        frames, said = int(found["frames"][row]), found["token_lengths"][row : row + 1]
        features = Sequences(found["features"][row : row + 1, :frames], torch.tensor([frames]))
        tokens = found["tokens"][row : row + 1, : int(said)]
        batch = Batch(features=features, tokens=tokens, token_lengths=said)
        with torch.no_grad():
            loss = model.loss(batch)[kind].sum
        assert wanted > 10 and loss.item() == pytest.approx(wanted, rel=TOLERANCE)


@pytest.mark.parametrize(
    ("name", "decoder", "key"),
    [
        ("ctc", "ctc", "ctc_text"),
        ("rnnt", "rnnt", "text"),
        ("tdt", "tdt", "text"),
        ("hybrid", "rnnt", "text"),
        ("hybrid", "ctc", "ctc_text"),
    ],
)
def test_greedy_search_finds_the_text_of_nemo(name: str, decoder: str, key: str) -> None:
    model, tokenizer = read_nemo(FIXTURES / f"{name}.nemo")
    found = golden(name)
    nothing = torch.zeros(len(found["frames"]), 1, dtype=torch.int64)
    batch = Batch(features=sequences(found), tokens=nothing, token_lengths=nothing[:, 0])
    with torch.no_grad():
        said = model.transcribe(batch, DecodingOptions(decoder=decoder))
    for row, hypothesis in enumerate(said):
        wanted = bytes(found[f"{key}_{row}"].tolist()).decode()
        assert tokenizer.decode(hypothesis.tokens) == wanted != ""


def test_features_are_those_of_nemo() -> None:
    found = golden("ctc")
    sound, lengths = to_float(found["sound"]), found["lengths"]
    values, frames = compute(recipe("nemo", 16, 16000), sound, lengths)
    assert frames.tolist() == found["frames"].tolist()
    for row, count in enumerate(frames):
        assert torch.allclose(values[row, :count], found["features"][row, :count], atol=TOLERANCE)


def test_an_imported_archive_is_a_checkpoint(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, best, folder = FIXTURES / "hybrid.nemo", tmp_path / "best.pt", tmp_path / "parakeet"
    assert main(["import", str(source), "--output", str(best), "--language", "en"]) == 0
    portable = read_portable(best)
    assert (portable.model, portable.language) == ("conformer/conformer", "en")
    state = read_nemo(source)[0].state_dict()
    assert all(torch.equal(state[name], tensor) for name, tensor in portable.tensors.items())
    assert main(["import", str(source), "--output", str(best)]) == 2
    assert f"{best} exists" in capsys.readouterr().err
    assert main(["export", str(best), "--format", "nemo", "--output", str(folder)]) == 2
    assert "can only be read" in capsys.readouterr().err
    assert main(["export", str(best), "--format", "parakeet", "--output", str(folder)]) == 2
    assert "its head is rnnt+ctc; train with" in capsys.readouterr().err
    assert not folder.exists()


def test_what_is_not_there_or_of_no_format_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["import", str(tmp_path / "no.nemo"), "--output", str(tmp_path / "x.pt")]) == 2
    assert "no file or folder" in capsys.readouterr().err
    assert main(["import", str(tmp_path), "--output", str(tmp_path / "x.pt")]) == 2
    assert "of no known format; say --format (nemo, parakeet)" in capsys.readouterr().err


def contents() -> Files:
    with tarfile.open(FIXTURES / "ctc.nemo") as archive:
        files = {m.name.removeprefix("./"): archive.extractfile(m) for m in archive if m.isreg()}
        return {name: file.read() for name, file in files.items() if file}


def pack(path: Path, files: Files, prefix: str = "./", mode: str = "w") -> Path:
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for name, data in files.items():
            info = tarfile.TarInfo(prefix + name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


@pytest.mark.parametrize("mode", ["w", "w:gz"])
@pytest.mark.parametrize("prefix", ["", "./"])
def test_plain_and_compressed_archives_with_and_without_a_prefix_are_the_same(
    prefix: str, mode: str, tmp_path: Path
) -> None:
    model, _ = read_nemo(pack(tmp_path / "x.nemo", contents(), prefix, mode))
    state = read_nemo(FIXTURES / "ctc.nemo")[0].state_dict()
    assert all(torch.equal(state[name], tensor) for name, tensor in model.state_dict().items())


def with_settings(files: Files, section: str, **changes: object) -> None:
    content = yaml.safe_load(files["model_config.yaml"])
    content[section].update(changes)
    files["model_config.yaml"] = yaml.safe_dump(content).encode()


def with_weights(files: Files, change: Callable[[dict[str, Tensor]], object]) -> None:
    state = torch.load(io.BytesIO(files["model_weights.ckpt"]), weights_only=True)
    change(state)
    buffer = io.BytesIO()
    torch.save(state, buffer)
    files["model_weights.ckpt"] = buffer.getvalue()


class Bomb:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (print, ("code of the file was run",))


BAD: dict[str, tuple[Callable[[Files], object], str]] = {
    "no weights": (lambda f: f.pop("model_weights.ckpt"), "lacks model_weights.ckpt"),
    "no settings": (lambda f: f.pop("model_config.yaml"), "lacks model_config.yaml"),
    "settings that are no yaml": (lambda f: f.update({"model_config.yaml": b"a: [b"}), "no YAML"),
    "yaml that makes objects": (
        lambda f: f.update({"model_config.yaml": b"!!python/object/apply:print [x]"}),
        "no YAML",
    ),
    "words": (lambda f: with_settings(f, "tokenizer", type="wpe"), "only one sentencepiece model"),
    "rotary": (
        lambda f: with_settings(f, "encoder", self_attention_model="abs_pos"),
        "self_attention_model is 'abs_pos'; only 'rel_pos' is supported",
    ),
    "size that is text": (lambda f: with_settings(f, "encoder", d_model="x"), "whole number"),
    "one layer more": (
        lambda f: with_settings(f, "encoder", n_layers=3),
        "it lacks encoder.layers.2",
    ),
    "a tensor too many": (
        lambda f: with_weights(f, lambda s: s.update(extra=torch.zeros(1))),
        "it has extra besides",
    ),
    "cut weights": (
        lambda f: f.update({"model_weights.ckpt": f["model_weights.ckpt"][:5000]}),
        "model_weights.ckpt is truncated or damaged",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_an_archive_that_does_not_fit_is_refused_in_one_line(name: str, tmp_path: Path) -> None:
    change, message = BAD[name]
    files = contents()
    change(files)
    with pytest.raises(UserError, match=r"x\.nemo") as told:
        read_nemo(pack(tmp_path / "x.nemo", files))
    assert message in str(told.value) and "\n" not in str(told.value)


def test_weights_that_would_run_code_are_refused_and_nothing_is_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = contents()
    buffer = io.BytesIO()
    torch.save({"encoder": Bomb()}, buffer, pickle_module=pickle)
    files["model_weights.ckpt"] = buffer.getvalue()
    with pytest.raises(UnsafeCheckpointError, match="print, which may run code"):
        read_nemo(pack(tmp_path / "x.nemo", files))
    assert "was run" not in capsys.readouterr().out


def test_a_truncated_archive_is_named(tmp_path: Path) -> None:
    path = pack(tmp_path / "x.nemo", contents())
    path.write_bytes(path.read_bytes()[:60_000])
    with pytest.raises(CheckpointError, match=r"x\.nemo is truncated"):
        read_nemo(path)
