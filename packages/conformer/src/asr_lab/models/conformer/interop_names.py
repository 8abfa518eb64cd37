"""What other systems call the weights of a Fast Conformer, and how they lay them out."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from reprlib import Repr
from typing import Literal, TypeAlias

import torch
from jaxtyping import Shaped
from torch import Tensor

from asr_lab.checkpoints.errors import MismatchedCheckpointError
from asr_lab.models.conformer.config import ConformerConfig
from asr_lab.models.conformer.model import ConformerASRModel
from asr_lab.utils.errors import UserError

System: TypeAlias = Literal["parakeet", "nemo"]
"""transformers' Parakeet classes, or NeMo."""


@dataclass(frozen=True, kw_only=True)
class Weight:
    """One tensor under its three names."""

    ours: str
    parakeet: str
    nemo: str
    axes: int = 0
    """Axes of length 1 that theirs has behind ours: our linear layers are their convolutions."""
    tokens: bool = False
    """True if the first axis counts the tokens and the blank, and whatever follows them."""


LINEARS = {
    "before.inner": ("feed_forward1.linear1", "feed_forward1.linear1"),
    "before.outer": ("feed_forward1.linear2", "feed_forward1.linear2"),
    "attention.query": ("self_attn.q_proj", "self_attn.linear_q"),
    "attention.key": ("self_attn.k_proj", "self_attn.linear_k"),
    "attention.value": ("self_attn.v_proj", "self_attn.linear_v"),
    "attention.out": ("self_attn.o_proj", "self_attn.linear_out"),
    "convolution.inner": ("conv.pointwise_conv1", "conv.pointwise_conv1"),
    "convolution.depthwise": ("conv.depthwise_conv", "conv.depthwise_conv"),
    "convolution.outer": ("conv.pointwise_conv2", "conv.pointwise_conv2"),
    "after.inner": ("feed_forward2.linear1", "feed_forward2.linear1"),
    "after.outer": ("feed_forward2.linear2", "feed_forward2.linear2"),
}
"""Layers of a block that have a bias if the configuration says so."""
POINTWISE = ("convolution.inner", "convolution.outer")
NORMS = {
    "before_norm": "norm_feed_forward1",
    "attention_norm": "norm_self_att",
    "convolution_norm": "norm_conv",
    "after_norm": "norm_feed_forward2",
    "norm": "norm_out",
}
PLAIN = {
    "attention.position.weight": (
        "self_attn.relative_k_proj.weight",
        "self_attn.linear_pos.weight",
    ),
    "attention.content_bias": ("self_attn.bias_u", "self_attn.pos_bias_u"),
    "attention.position_bias": ("self_attn.bias_v", "self_attn.pos_bias_v"),
}
STATISTICS = ("weight", "bias", "running_mean", "running_var")
COUNTER = "num_batches_tracked"
"""Ends the name of a number that batch normalisation with a fixed momentum has no use for."""


def weights(config: ConformerConfig) -> Iterator[Weight]:
    """Yield every tensor of a model of this configuration, in no order that matters."""
    yield from _subsampling(config)
    yield from _blocks(config)
    yield from _heads(config)


def _subsampling(config: ConformerConfig) -> Iterator[Weight]:
    """Yield the convolutions, whose numbers in theirs count the activations between them."""
    numbers = {"first": 0}
    for index in range(config.subsampling.bit_length() - 2):
        numbers[f"depthwise.{index}"] = 3 * index + 2
        numbers[f"pointwise.{index}"] = 3 * index + 3
    for part in ("weight", "bias"):
        for ours, number in numbers.items():
            yield Weight(
                ours=f"encoder.subsampling.{ours}.{part}",
                parakeet=f"encoder.subsampling.layers.{number}.{part}",
                nemo=f"encoder.pre_encode.conv.{number}.{part}",
            )
        yield Weight(
            ours=f"encoder.subsampling.out.{part}",
            parakeet=f"encoder.subsampling.linear.{part}",
            nemo=f"encoder.pre_encode.out.{part}",
        )


def _blocks(config: ConformerConfig) -> Iterator[Weight]:
    for index in range(config.layers):
        ours, theirs = f"encoder.blocks.{index}", f"encoder.layers.{index}"
        for inner, parakeet, nemo, axes in _block(config):
            yield Weight(
                ours=f"{ours}.{inner}",
                parakeet=f"{theirs}.{parakeet}",
                nemo=f"{theirs}.{nemo}",
                axes=axes,
            )


def _block(config: ConformerConfig) -> Iterator[tuple[str, str, str, int]]:
    """Yield the tensors of one block: our name, Parakeet's, NeMo's, axes that they have besides."""
    for ours, (parakeet, nemo) in LINEARS.items():
        for part in ("weight", "bias") if config.bias else ("weight",):
            axes = int(ours in POINTWISE and part == "weight")
            yield f"{ours}.{part}", f"{parakeet}.{part}", f"{nemo}.{part}", axes
    for ours, (parakeet, nemo) in PLAIN.items():
        yield ours, parakeet, nemo, 0
    for ours, theirs in NORMS.items():
        for part in ("weight", "bias"):
            yield f"{ours}.{part}", f"{theirs}.{part}", f"{theirs}.{part}", 0
    for part in STATISTICS if config.norm == "batch" else STATISTICS[:2]:
        yield f"convolution.norm.{part}", f"conv.norm.{part}", f"conv.batch_norm.{part}", 0


def _heads(config: ConformerConfig) -> Iterator[Weight]:
    kinds = config.head.split("+")
    if "ctc" in kinds:
        nemo = "decoder" if len(kinds) == 1 else "ctc_decoder"
        for part in ("weight", "bias"):
            yield Weight(
                ours=f"head.linear.{part}",
                parakeet=f"ctc_head.{part}",
                nemo=f"{nemo}.decoder_layers.0.{part}",
                axes=int(part == "weight"),
                tokens=True,
            )
    if kinds != ["ctc"]:
        yield from _transducer(config)


def _transducer(config: ConformerConfig) -> Iterator[Weight]:
    linears = {
        "encoder_projection": ("encoder_projector", "joint.enc"),
        "predictor_projection": ("decoder.decoder_projector", "joint.pred"),
        "out": ("joint.head", "joint.joint_net.2"),
    }
    for ours, (parakeet, nemo) in linears.items():
        for part in ("weight", "bias"):
            yield Weight(
                ours=f"transducer.{ours}.{part}",
                parakeet=f"{parakeet}.{part}",
                nemo=f"{nemo}.{part}",
                tokens=ours == "out",
            )
    yield Weight(
        ours="transducer.embedding.weight",
        parakeet="decoder.embedding.weight",
        nemo="decoder.prediction.embed.weight",
        tokens=True,
    )
    for layer in range(config.predictor_layers):
        for part in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
            yield Weight(
                ours=f"transducer.lstm.{part}_l{layer}",
                parakeet=f"decoder.lstm.{part}_l{layer}",
                nemo=f"decoder.prediction.dec_rnn.lstm.{part}_l{layer}",
            )


def integer(content: Mapping[str, object], name: str, default: int | None = None) -> int:
    """Return a setting that is a whole number; raises UserError for anything else."""
    value = content.get(name, default)
    if not isinstance(value, int) or isinstance(value, bool):
        raise UserError(f"{name} must be a whole number; got {shown(value)}")
    return value


def boolean(content: Mapping[str, object], name: str, default: bool) -> bool:
    """Return a setting that is true or false; raises UserError for all else, such as "false"."""
    value = content.get(name, default)
    if not isinstance(value, bool):
        raise UserError(f"{name} must be true or false; got {shown(value)}")
    return value


def shown(value: object) -> str:
    """Return a value in few characters: a YAML of few lines can name a list of millions."""
    short = Repr()
    short.maxlevel = 2
    return short.repr(value)


def whole_numbers(found: Sequence[object]) -> tuple[int, ...]:
    """Return durations; raises UserError if one is not a whole number."""
    numbers = tuple(number for number in found if isinstance(number, int))
    if len(numbers) != len(found):
        raise UserError("durations must be whole numbers")
    return numbers


def blank_last(blank_id: int, scores: int) -> list[int]:
    """Return which of their scores stand at our places 0, 1, …: their blank comes last."""
    return [index for index in range(scores) if index != blank_id] + [blank_id]


def to_ours(
    config: ConformerConfig,
    tensors: Mapping[str, Tensor],
    system: System,
    order: Sequence[int],
    source: object,
) -> dict[str, Tensor]:
    """Return the state dict of our model, in FP32, from the tensors of another system.

    `order` says which of their tokens stands at each of our places, the blank at the last. Raises
    MismatchedCheckpointError naming a tensor that is missing, left over or of another shape.
    """
    known: dict[str, Weight] = {}
    for weight in weights(config):  # of which a configuration may claim any number
        name = getattr(weight, system)
        if name not in tensors:
            raise _unlike(source, f"it lacks {name}")
        known[name] = weight
    if extra := sorted(set(tensors) - set(known)):
        raise _unlike(source, f"it has {extra[0]} besides")
    found, shapes = {}, _shapes(config, source)
    for name, weight in known.items():
        tensor, shape = tensors[name], (*shapes[weight.ours], *(1,) * weight.axes)
        if tensor.shape != shape:
            raise _unlike(source, f"{name} is {tuple(tensor.shape)} instead of {shape}")
        if not tensor.is_floating_point():
            raise _unlike(source, f"{name} holds {tensor.dtype}")
        if weight.tokens:
            tensor = _reordered(tensor, order)
        found[weight.ours] = tensor.reshape(tensor.shape[: tensor.ndim - weight.axes]).float()
    return found


def to_theirs(
    config: ConformerConfig, state: Mapping[str, Tensor], system: System, order: Sequence[int]
) -> dict[str, Tensor]:
    """Return the tensors of another system from our state dict; the reverse of `to_ours`."""
    back = [0] * len(order)
    for ours, theirs in enumerate(order):
        back[theirs] = ours
    found = {}
    for weight in weights(config):
        tensor = state[weight.ours]
        if weight.tokens:
            tensor = _reordered(tensor, back)
        found[getattr(weight, system)] = tensor[(...,) + (None,) * weight.axes].contiguous()
    return found


def _shapes(config: ConformerConfig, source: object) -> dict[str, torch.Size]:
    """Return the shapes of our tensors without making room for them, which may be too much."""
    try:
        with torch.device("meta"):
            state = ConformerASRModel(config).state_dict()
    except (RuntimeError, OverflowError) as error:
        raise _unlike(source, "no tensor is that large") from error
    return {name: tensor.shape for name, tensor in state.items()}


def _reordered(
    tensor: Shaped[Tensor, "rows ..."], order: Sequence[int]
) -> Shaped[Tensor, "rows ..."]:
    """Return the rows of the tokens in another order; rows behind them stay where they are."""
    rows = [*order, *range(len(order), len(tensor))]
    return tensor if rows == sorted(rows) else tensor[torch.tensor(rows)]


def _unlike(source: object, problem: str) -> MismatchedCheckpointError:
    return MismatchedCheckpointError(
        f"{source} is not the Fast Conformer that its configuration describes: {problem}; "
        "get it again, or one of the layout that asr-lab import --help names"
    )
