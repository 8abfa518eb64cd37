"""A Fast Conformer as ONNX files, and the JSON that a program needs to decode with them."""

import json
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor, nn

from asr_lab.audio.recipes import recipe
from asr_lab.decoding.timestamps import seconds_per_step
from asr_lab.models.conformer.interop_onnx_graphs import (
    CTCGraph,
    EncoderGraph,
    JointGraph,
    PredictorGraph,
)
from asr_lab.models.conformer.model import ConformerASRModel, ConformerEncoder
from asr_lab.tokenizers import Tokenizer
from asr_lab.utils.errors import UserError
from asr_lab.utils.files import write_file, writing_folder

CONFIG, TOKENS = "config.json", "tokens.json"
FORMAT, VERSION = "asr-lab-onnx", 1
OPSET = 17
"""Operators of ONNX 1.12 (2022): the first that have layer normalisation."""
LARGEST = 2**30
"""Bytes of weights that are kept in an ONNX file itself, which may not have 2 GiB."""
FRAMES, TOKENS_AT_ONCE = 43, 2
"""Sizes that the graphs are traced with; nothing in them depends on these."""


@dataclass(frozen=True, kw_only=True)
class Graph:
    """One ONNX file: what computes it, and the names and axes of what goes in and out."""

    name: str
    module: nn.Module
    inputs: dict[str, tuple[str | int, ...]]
    outputs: dict[str, tuple[str | int, ...]]
    examples: tuple[Tensor, ...]

    @property
    def axes(self) -> dict[str, dict[int, str]]:
        """Return the axes that may have any length, by input or output."""
        tensors = {**self.inputs, **self.outputs}
        return {
            name: {place: axis for place, axis in enumerate(axes) if isinstance(axis, str)}
            for name, axes in tensors.items()
        }


def write_onnx_folder(
    model: ConformerASRModel, tokenizer: Tokenizer, folder: Path, largest: int
) -> None:
    """Write the graphs, then the settings and tokens; see `interop.write_onnx`."""
    refuse_what_cannot_be(model, tokenizer)
    write_graphs(model, tokenizer, folder, largest, [encoder_graph(model), *head_graphs(model)])


def refuse_what_cannot_be(model: ConformerASRModel, tokenizer: Tokenizer) -> None:
    """Raise UserError where the package onnx is missing, or the tokenizer is another model's."""
    if find_spec("onnx") is None:
        raise UserError(
            "ONNX files need the package onnx, which is not installed; "
            "pip install 'asr-lab-conformer[onnx]'"
        )
    if tokenizer.size != (vocab := model.config.vocab):
        raise UserError(f"the tokenizer has {tokenizer.size} tokens, the model {vocab}")


def write_graphs(
    model: ConformerASRModel,
    tokenizer: Tokenizer,
    folder: Path,
    largest: int,
    found: Sequence[Graph],
    **further: object,
) -> None:
    """Write graphs, the tokens, and the settings, with what is `further` to be known of them."""
    tokens = {
        "kind": tokenizer.kind,
        "pieces": list(tokenizer.pieces),
        "special": dict(tokenizer.special),
    }
    with writing_folder(folder) as partial:
        for graph in found:
            _write_graph(graph, partial, largest)
        _write_json(partial / TOKENS, tokens)
        _write_json(partial / CONFIG, {**settings(model, found), **further})


def settings(model: ConformerASRModel, found: Sequence[Graph]) -> dict[str, object]:
    """Return the content of `config.json`."""
    config = model.config
    return {
        "format": FORMAT,
        "format_version": VERSION,
        "model": config.to_dict(),
        "features": asdict(recipe(config.features, config.mels, config.sample_rate)),
        "decoders": list(model.decoders),
        "blank_id": config.blank_id,
        "durations": list(config.durations) if config.transducer == "tdt" else [],
        "seconds_per_step": seconds_per_step(config),
        "files": {
            f"{graph.name}.onnx": {"inputs": graph.inputs, "outputs": graph.outputs}
            for graph in found
        },
    }


def encoder_graph(model: ConformerASRModel) -> Graph:
    """Return what the file of the encoder holds, which takes whole utterances."""
    config, encoder = model.config, model.encoder
    assert isinstance(encoder, ConformerEncoder)
    return Graph(
        name="encoder",
        module=EncoderGraph(encoder),
        inputs={"features": ("batch", "frames", config.mels), "lengths": ("batch",)},
        outputs={"encoded": ("batch", "steps", config.dim), "encoded_lengths": ("batch",)},
        examples=(torch.zeros(2, FRAMES, config.mels), torch.tensor([FRAMES, FRAMES - 9])),
    )


def head_graphs(model: ConformerASRModel) -> Iterator[Graph]:
    """Yield what the files of the heads hold."""
    config = model.config
    encoded = torch.zeros(2, config.steps(FRAMES), config.dim)
    if model.head is not None:
        yield Graph(
            name="ctc",
            module=CTCGraph(model.head),
            inputs={"encoded": ("batch", "steps", config.dim)},
            outputs={"log_probs": ("batch", "steps", config.vocab + 1)},
            examples=(encoded,),
        )
    if model.transducer is None:
        return
    state = ("batch", config.predictor_layers, config.predictor_dim)
    zeros = torch.zeros(2, *state[1:])
    yield Graph(
        name="decoder",
        module=PredictorGraph(model.transducer),
        inputs={"tokens": ("batch", "tokens"), "hidden": state, "cell": state},
        outputs={
            "predicted": ("batch", "tokens", config.joint_dim),
            "next_hidden": state,
            "next_cell": state,
        },
        examples=(torch.zeros(2, TOKENS_AT_ONCE, dtype=torch.int64), zeros, zeros.clone()),
    )
    scores = model.transducer.out.out_features
    yield Graph(
        name="joint",
        module=JointGraph(model.transducer),
        inputs={
            "encoded": ("batch", "steps", config.dim),
            "predicted": ("batch", "tokens", config.joint_dim),
        },
        outputs={"logits": ("batch", "steps", "tokens", scores)},
        examples=(encoded, torch.zeros(2, TOKENS_AT_ONCE, config.joint_dim)),
    )


def _write_graph(graph: Graph, folder: Path, largest: int) -> None:
    """Trace and write one graph, its weights in a file beside it if they are many bytes."""
    import onnx

    target = folder / f"{graph.name}.onnx"
    with TemporaryDirectory(dir=folder, prefix=".") as temporary:
        traced = Path(temporary) / target.name
        _trace(graph, traced)
        content = onnx.load(traced)
    content.producer_name, content.producer_version = "asr-lab", str(VERSION)
    for output in content.graph.output:  # whose fixed sizes the exporter does not always see
        axes = zip(output.type.tensor_type.shape.dim, graph.outputs[output.name], strict=True)
        for found, size in axes:
            if isinstance(size, int):
                found.dim_value = size
    if sum(len(weight.raw_data) for weight in content.graph.initializer) > largest:
        beside = f"{target.name}.data"
        onnx.save_model(content, target, save_as_external_data=True, location=beside)
        (folder / beside).chmod(target.stat().st_mode)  # which onnx keeps to its owner
    else:
        onnx.save_model(content, target)
    onnx.checker.check_model(str(target))


def _trace(graph: Graph, target: Path) -> None:
    with warnings.catch_warnings(), torch.no_grad():
        # That the exporter is an old one (the new one wants another package, and lacks LSTMs of
        # any length), and where traced code looks at a size: tests run other sizes than traced.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            graph.module.eval(),
            graph.examples,
            str(target),
            input_names=list(graph.inputs),
            output_names=list(graph.outputs),
            dynamic_axes=graph.axes,
            opset_version=OPSET,
            dynamo=False,
        )


def _write_json(path: Path, content: object) -> None:
    write_file(path, json.dumps(content, indent=2, ensure_ascii=False) + "\n")
