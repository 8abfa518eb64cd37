"""Fast Conformers from and to other systems: transformers' Parakeet, NeMo, and ONNX.

    model, tokenizer = read_nemo(Path("stt_en_fastconformer_ctc_large.nemo"))
    write_parakeet(model, tokenizer, Path("parakeet"))

Features are always those of the recipe `nemo`, which the model's configuration names. No code of a
file is ever run.
"""

from pathlib import Path

from asr_lab.models.conformer.interop_nemo import read_archive
from asr_lab.models.conformer.interop_onnx import LARGEST, write_onnx_folder
from asr_lab.models.conformer.interop_onnx_stream import write_stream_folder
from asr_lab.models.conformer.interop_parakeet import read_folder, write_folder
from asr_lab.models.conformer.model import ConformerASRModel
from asr_lab.tokenizers import BPETokenizer, Tokenizer

__all__ = ["read_nemo", "read_parakeet", "write_onnx", "write_onnx_stream", "write_parakeet"]


def read_parakeet(folder: Path) -> tuple[ConformerASRModel, BPETokenizer]:
    """Read what `save_pretrained` of ParakeetForCTC, ForRNNT or ForTDT and its processor wrote.

    The model is in eval mode, in FP32, on the CPU, and keeps its batch-norm statistics when it is
    trained further. Their blank, wherever it stands, becomes our last score. Raises
    MissingCheckpointError, DamagedCheckpointError, MismatchedCheckpointError for a model that has
    no place here, and UserError for a tokenizer that is not of sentencepiece.
    """
    return read_folder(folder)


def write_parakeet(
    model: ConformerASRModel, tokenizer: Tokenizer, folder: Path, *, blank_id: int | None = None
) -> None:
    """Write weights, configuration, tokenizer and processor that `from_pretrained` reads.

    `blank_id` is the place of the blank among their scores, the last unless given. Raises UserError
    for a model that transformers' classes cannot hold, and CannotWriteError.
    """
    write_folder(model, tokenizer, folder, blank_id)


def read_nemo(path: Path) -> tuple[ConformerASRModel, BPETokenizer]:
    """Read a `.nemo` archive of a Fast Conformer with CTC, RNN-T, TDT, or one of these and CTC.

    The model is in eval mode, in FP32, on the CPU, and keeps its batch-norm statistics when it is
    trained further. Raises MissingCheckpointError, DamagedCheckpointError for an archive that is
    truncated, UnsafeCheckpointError for one with links, paths that lead outside, absurd sizes or
    weights that would run code, and MismatchedCheckpointError for a model that has no place here.
    """
    return read_archive(path)


def write_onnx(
    model: ConformerASRModel, tokenizer: Tokenizer, folder: Path, *, largest: int = LARGEST
) -> None:
    """Write ONNX graphs of the encoder and the heads, and JSON with all that decoding needs.

    Graphs whose weights have more than `largest` bytes keep them in a file beside. Raises UserError
    where the package onnx is missing or the tokenizer is another model's, and CannotWriteError.
    """
    write_onnx_folder(model, tokenizer, folder, largest)


def write_onnx_stream(
    model: ConformerASRModel, tokenizer: Tokenizer, folder: Path, *, largest: int = LARGEST
) -> None:
    """Write ONNX graphs of a chunk step with its states, and of the heads, and JSON.

    `put_in_streaming_mode` gives a model of other chunks. Raises what `write_onnx` does, and
    UserError for a model that does not stream, or whose features need the whole utterance.
    """
    write_stream_folder(model, tokenizer, folder, largest)
