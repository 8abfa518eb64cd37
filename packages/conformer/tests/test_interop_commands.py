"""`asr-lab import` of NeMo's archives, and what the commands after it make of the checkpoint."""

import gzip
import io
import json
import pickle
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
import soundfile
import torch
import yaml
from safetensors.torch import load_file
from torch import Tensor

from asr_lab.checkpoints import read_portable
from asr_lab.cli import main
from asr_lab.models.conformer.interop import read_nemo

FIXTURES = Path(__file__).parent / "fixtures" / "nemo"
HEADS = {"ctc": "ctc_text", "rnnt": "text", "tdt": "text", "hybrid": "text"}
"""Which of the golden texts is that of the primary decoder."""
RATE = 16000
Capsys = pytest.CaptureFixture[str]


def golden(name: str) -> dict[str, Tensor]:
    return load_file(FIXTURES / "sound.safetensors") | load_file(FIXTURES / f"{name}.safetensors")


def texts(name: str, key: str) -> list[str]:
    """Return what NeMo heard in each utterance."""
    found = golden(name)
    rows = range(len(found["lengths"]))
    return [bytes(found[f"{key}_{row}"].tolist()).decode().strip() for row in rows]


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Write the utterances that NeMo heard as audio files."""
    folder, found, files = tmp_path_factory.mktemp("sound"), golden("ctc"), []
    for row, length in enumerate(found["lengths"].tolist()):
        files.append(folder / f"{row}.wav")
        soundfile.write(files[-1], found["sound"][row, :length].numpy(), RATE)
    return files


def imported(name: str, folder: Path) -> Path:
    best = folder / "best.pt"
    words = ["--output", str(best), "--language", "en"]
    assert main(["import", str(FIXTURES / f"{name}.nemo"), *words]) == 0
    return best


def transcribed(best: Path, files: list[Path], capsys: Capsys, *flags: str) -> list[str]:
    capsys.readouterr()
    words = ["--checkpoint", str(best), "--device", "cpu", "--format", "json", *flags]
    assert main(["transcribe", *map(str, files), *words]) == 0
    return [json.loads(line)["text"] for line in capsys.readouterr().out.splitlines()]


@pytest.mark.parametrize("name", HEADS)
def test_an_imported_archive_transcribes_what_nemo_heard(
    name: str, recordings: list[Path], tmp_path: Path, capsys: Capsys
) -> None:
    found = transcribed(imported(name, tmp_path), recordings, capsys)
    assert found == texts(name, HEADS[name])


def test_the_second_decoder_of_a_hybrid_can_be_chosen(
    recordings: list[Path], tmp_path: Path, capsys: Capsys
) -> None:
    best = imported("hybrid", tmp_path)
    found = transcribed(best, recordings, capsys, "--decoder", "ctc")
    assert found == texts("hybrid", "ctc_text") != texts("hybrid", "text")


@pytest.mark.parametrize("name", ["ctc", "tdt"])
def test_an_imported_archive_is_evaluated_without_a_mistake_on_what_nemo_heard(
    name: str, recordings: list[Path], tmp_path: Path, capsys: Capsys
) -> None:
    best, manifest = imported(name, tmp_path), tmp_path / "manifest.jsonl"
    lines = [
        {"audio_filepath": str(file), "text": text, "duration": soundfile.info(file).duration}
        for file, text in zip(recordings, texts(name, HEADS[name]), strict=True)
    ]
    manifest.write_text("".join(json.dumps(line) + "\n" for line in lines))
    capsys.readouterr()
    words = ["--dataset", f"manifest:{manifest}", "--workers", "0", "--device", "cpu", "--json"]
    assert main(["evaluate", "--checkpoint", str(best), *words]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["words"]["errors"] == 0
    assert result["words"]["reference_length"] == sum(len(line["text"].split()) for line in lines)


def test_an_archive_goes_on_to_transformers_and_comes_back_with_the_same_text(
    recordings: list[Path], tmp_path: Path, capsys: Capsys
) -> None:
    best, folder, again = imported("ctc", tmp_path), tmp_path / "parakeet", tmp_path / "again.pt"
    assert main(["export", str(best), "--format", "parakeet", "--output", str(folder)]) == 0
    assert main(["import", str(folder), "--output", str(again), "--language", "en"]) == 0
    first, second = read_portable(best), read_portable(again)
    assert all(torch.equal(second.tensors[name], value) for name, value in first.tensors.items())
    assert transcribed(again, recordings, capsys) == texts("ctc", "ctc_text")


def test_overwrite_replaces_the_checkpoint_of_another_model(tmp_path: Path, capsys: Capsys) -> None:
    best = imported("ctc", tmp_path)
    words = ["import", str(FIXTURES / "tdt.nemo"), "--output", str(best)]
    assert refused(words, capsys) == f"{best} exists; choose another --output or say --overwrite"
    assert read_portable(best).config["head"] == "ctc"
    assert main([*words, "--overwrite"]) == 0
    assert read_portable(best).config["head"] == "tdt"


@pytest.mark.parametrize(("command", "typo"), [("import", "nmeo"), ("export", "parakit")])
def test_a_mistyped_format_gives_the_nearest(
    command: str, typo: str, tmp_path: Path, capsys: Capsys
) -> None:
    meant = {"nmeo": "nemo", "parakit": "parakeet"}[typo]
    best = imported("ctc", tmp_path)
    line = refused([command, str(best), "--format", typo, "--output", str(tmp_path / "x")], capsys)
    assert line == f"no format {typo!r}; did you mean {meant}?"


def refused(words: list[str], capsys: Capsys) -> str:
    """Return the one line in which a command refuses."""
    capsys.readouterr()
    status = main(words)
    printed = capsys.readouterr()
    assert (status, printed.out, printed.err.count("\n")) == (2, "", 1), printed
    return printed.err.removeprefix("asr-lab: ").rstrip("\n")


# Archives that anybody may have made


class Archive:
    """The members of a fixture, to be changed and packed again."""

    def __init__(self, name: str) -> None:
        self.members: list[tuple[tarfile.TarInfo, bytes]] = []
        with tarfile.open(FIXTURES / f"{name}.nemo") as archive:
            for member in archive:
                file = archive.extractfile(member)
                self.members.append((member, file.read() if file else b""))

    def add(
        self, name: str, data: bytes = b"", kind: bytes = tarfile.REGTYPE, to: str = ""
    ) -> None:
        info = tarfile.TarInfo(name)
        info.type, info.linkname, info.size = kind, to, len(data)
        self.members.append((info, data))

    def change(self, name: str, change: Callable[[bytes], bytes]) -> None:
        """Replace the content of the member whose name ends so."""
        place = next(n for n, (info, _) in enumerate(self.members) if info.name.endswith(name))
        info, data = self.members[place]
        data = change(data)
        info.size = len(data)
        self.members[place] = (info, data)

    def pack(self) -> bytes:
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w") as archive:
            for info, data in self.members:
                archive.addfile(info, io.BytesIO(data))
        return buffer.getvalue()


class Bomb:
    """What runs code once it is unpickled."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (print, ("code of the file was run",))


def with_code(_: bytes) -> bytes:
    buffer = io.BytesIO()
    torch.save({"encoder": Bomb()}, buffer, pickle_module=pickle)
    return buffer.getvalue()


def with_settings(section: str, **values: object) -> Callable[[bytes], bytes]:
    def change(data: bytes) -> bytes:
        content = yaml.safe_load(data)
        content[section].update(values)
        return yaml.safe_dump(content).encode()

    return change


def small_tokenizer(_: bytes) -> bytes:
    from asr_lab.tokenizers.bpe import train_bpe

    return train_bpe(["ab ace bad"], 270).to_bytes()


CONFIG, WEIGHTS, TOKENIZER = "model_config.yaml", "model_weights.ckpt", "tokenizer.model"
SECRET = "/etc/hostname"
HOSTILE: dict[str, tuple[Callable[[Archive], None], str]] = {
    "a link": (lambda a: a.add("x", kind=tarfile.SYMTYPE, to=SECRET), "holds a link, 'x'"),
    "a hard link": (lambda a: a.add("x", kind=tarfile.LNKTYPE, to=CONFIG), "holds a link, 'x'"),
    "an absolute path": (lambda a: a.add("/tmp/x", b"x"), "'/tmp/x', which leads outside"),
    "a path upwards": (lambda a: a.add("../x", b"x"), "'../x', which leads outside"),
    "a path down and up": (lambda a: a.add("a/../../x", b"x"), "which leads outside"),
    "a device": (lambda a: a.add("x", kind=tarfile.CHRTYPE), "neither a file nor a folder"),
    "weights twice": (lambda a: a.add(WEIGHTS, b"x"), f"{WEIGHTS}' twice"),
    "weights that run code": (lambda a: a.change(WEIGHTS, with_code), "which may run code"),
    "a tokenizer of words": (
        lambda a: a.change(CONFIG, with_settings("tokenizer", type="wpe")),
        "only one sentencepiece model (bpe) is supported",
    ),
    "a tokenizer that is elsewhere": (
        lambda a: a.change(CONFIG, with_settings("tokenizer", model_path=f"nemo:{SECRET}")),
        "only one sentencepiece model (bpe) is supported",
    ),
    "a tokenizer of another size": (
        lambda a: a.change(TOKENIZER, small_tokenizer),
        "(29, 24, 1) instead of (271, 24, 1)",
    ),
    "a tokenizer that is none": (lambda a: a.change(TOKENIZER, lambda _: b"x"), "tokenizer"),
    "another model": (
        lambda a: a.change(CONFIG, with_settings("encoder", self_attention_model="abs_pos")),
        "self_attention_model is 'abs_pos'; only 'rel_pos' is supported",
    ),
}


def is_refused(data: bytes, folder: Path, capsys: Capsys) -> str:
    """Return the line that refuses an archive, which must leave nothing behind."""
    place = folder / "here"
    place.mkdir()
    source = place / "x.nemo"
    source.write_bytes(data)
    line = refused(["import", str(source), "--output", str(place / "best.pt")], capsys)
    assert [file for file in folder.rglob("*") if file.is_file()] == [source]
    assert str(source) in line and len(line) < 500
    return line


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_archive_is_refused_in_one_line_and_nothing_is_written(
    name: str, tmp_path: Path, capsys: Capsys
) -> None:
    change, message = HOSTILE[name]
    archive = Archive("ctc")
    change(archive)
    assert message in is_refused(archive.pack(), tmp_path, capsys)


@pytest.mark.parametrize("name", ["ctc", "tdt"])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.8])
def test_a_truncated_archive_is_refused_plain_and_compressed(
    name: str, share: float, tmp_path: Path, capsys: Capsys
) -> None:
    data = (FIXTURES / f"{name}.nemo").read_bytes()
    assert "truncated" in is_refused(data[: int(share * len(data))], tmp_path, capsys)


def test_a_size_bomb_is_refused(tmp_path: Path, capsys: Capsys) -> None:
    archive = Archive("ctc")
    archive.add("zeros", bytes(128 * 2**20))
    data = gzip.compress(archive.pack(), 1)
    assert len(data) < 2**20
    assert "far more than a file of its size should" in is_refused(data, tmp_path, capsys)


def test_the_same_archive_unchanged_is_read(tmp_path: Path) -> None:
    (tmp_path / "x.nemo").write_bytes(Archive("ctc").pack())
    again, _ = read_nemo(tmp_path / "x.nemo")
    first = read_nemo(FIXTURES / "ctc.nemo")[0].state_dict()
    assert all(torch.equal(first[name], value) for name, value in again.state_dict().items())
