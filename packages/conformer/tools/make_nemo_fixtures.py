"""Write the `.nemo` archives that the tests read: tiny, random, and made by NeMo itself.

Run it with nemo-toolkit[asr]==3.0.0, in an environment of its own, which needs none of ASR Lab:

    python packages/conformer/tools/make_nemo_fixtures.py packages/conformer/tests/fixtures/nemo

Beside each archive lies a file of golden tensors: what NeMo makes of some noise. Weights,
batch-norm statistics and position biases are random, so that a wrong name or a wrong layout shows.
"""

import io
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeAlias

import nemo.collections.asr as nemo_asr
import torch
from omegaconf import DictConfig, OmegaConf
from safetensors.torch import save_file
from sentencepiece import SentencePieceProcessor, SentencePieceTrainer

Hypotheses: TypeAlias = list[Any]
"""What NeMo's decoders return."""
SEED = 11
VOCAB = 28
TEXTS = ["the cat sat on the mat", "a dog ate the bread", "one two three four five"] * 3
SECONDS = (4.07, 2.31)
DURATIONS = [0, 1, 2, 3, 4]
NAMES = ("ctc", "rnnt", "tdt", "hybrid")
BLANKS = (0.6, 0.9)
"""Share of blanks among the decisions, which the blank's bias is chosen for."""


def main(folder: Path) -> None:
    """Write all archives."""
    folder.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory() as temporary:
        tokenizer = Path(temporary)
        train_tokenizer(tokenizer)
        for name in NAMES:
            model = build(name, tokenizer)
            randomise(model)
            found = golden(model, name)
            common = {key: found.pop(key) for key in ("features", "frames")}
            model.save_to(str(folder / f"{name}.nemo"))
            save_file(found, folder / f"{name}.safetensors")
    sound, lengths = make_sound()
    save_file({"sound": sound, "lengths": lengths, **common}, folder / "sound.safetensors")
    for name in ("rnnt", "tdt", "hybrid"):
        compress(folder / f"{name}.nemo")


def train_tokenizer(folder: Path) -> None:
    """Write what NeMo expects in the folder of a tokenizer, with NeMo's settings."""
    model = io.BytesIO()
    SentencePieceTrainer.train(
        sentence_iterator=iter(TEXTS),
        model_writer=model,
        model_type="bpe",
        vocab_size=VOCAB,
        hard_vocab_limit=False,
        normalization_rule_name="identity",  # NeMo's rules are 240 KB, four times over
        character_coverage=1.0,
        bos_id=-1,
        eos_id=-1,
        minloglevel=2,
    )
    (folder / "tokenizer.model").write_bytes(model.getvalue())
    processor = SentencePieceProcessor(model_proto=model.getvalue())
    pieces = [processor.id_to_piece(index) for index in range(processor.get_piece_size())]
    (folder / "vocab.txt").write_text("".join(f"{piece}\n" for piece in pieces[1:]))


def build(name: str, tokenizer: Path) -> nemo_asr.models.ASRModel:
    """Return an untrained model of two blocks."""
    config = {
        "sample_rate": 16000,
        "compute_eval_loss": False,
        "train_ds": None,
        "validation_ds": None,
        "tokenizer": {"dir": str(tokenizer), "type": "bpe"},
        "preprocessor": {
            "_target_": "nemo.collections.asr.modules.AudioToMelSpectrogramPreprocessor",
            "sample_rate": 16000,
            "normalize": "per_feature",
            "window_size": 0.025,
            "window_stride": 0.01,
            "window": "hann",
            "features": 16,
            "n_fft": 512,
            "log": True,
            "frame_splicing": 1,
            "dither": 0.00001,
            "pad_to": 0,
        },
        "encoder": {
            "_target_": "nemo.collections.asr.modules.ConformerEncoder",
            "feat_in": 16,
            "feat_out": -1,
            "n_layers": 2,
            "d_model": 24,
            "use_bias": name != "tdt",
            "subsampling": "dw_striding",
            "subsampling_factor": 8,
            "subsampling_conv_channels": 8,
            "ff_expansion_factor": 2,
            "self_attention_model": "rel_pos",
            "n_heads": 3,
            "att_context_size": [-1, -1],
            "xscaling": name != "tdt",
            "untie_biases": True,
            "pos_emb_max_len": 5000,
            "conv_kernel_size": 5,
            "conv_norm_type": "batch_norm",
        },
        "optim": {"name": "adamw", "lr": 1e-3},
        **heads(name),
    }
    kinds = {
        "ctc": nemo_asr.models.EncDecCTCModelBPE,
        "hybrid": nemo_asr.models.EncDecHybridRNNTCTCBPEModel,
    }
    kind = kinds.get(name, nemo_asr.models.EncDecRNNTBPEModel)
    return kind(DictConfig(OmegaConf.create(config)))


def heads(name: str) -> dict[str, object]:
    """Return the part of the configuration that says how tokens are scored."""
    ctc = {
        "_target_": "nemo.collections.asr.modules.ConvASRDecoder",
        "feat_in": 24,
        "num_classes": -1,
        "vocabulary": [],
    }
    if name == "ctc":
        return {"decoder": ctc}
    tdt = name == "tdt"
    loss = {"fastemit_lambda": 0.0, "clamp": -1.0}
    kind = "pytorch" if name != "tdt" else "tdt_pytorch"
    extra = {"durations": DURATIONS, "sigma": 0.02, "omega": 0.1} if tdt else {}
    found: dict[str, object] = {
        "model_defaults": {
            "enc_hidden": 24,
            "pred_hidden": 16,
            "joint_hidden": 20,
            **({"tdt_durations": DURATIONS, "num_tdt_durations": len(DURATIONS)} if tdt else {}),
        },
        "decoder": {
            "_target_": "nemo.collections.asr.modules.RNNTDecoder",
            "normalization_mode": None,
            "random_state_sampling": False,
            "blank_as_pad": True,
            "prednet": {"pred_hidden": 16, "pred_rnn_layers": 1 + tdt, "dropout": 0.2},
        },
        "joint": {
            "_target_": "nemo.collections.asr.modules.RNNTJoint",
            "log_softmax": None,
            "preserve_memory": False,
            "fuse_loss_wer": False,
            **({"num_extra_outputs": len(DURATIONS)} if tdt else {}),
            "jointnet": {
                "joint_hidden": 20,
                "activation": "relu",
                "dropout": 0.2,
                "encoder_hidden": 24,
                "pred_hidden": 16,
            },
        },
        "decoding": {
            "strategy": "greedy",
            "greedy": {"max_symbols": 10},
            **({"model_type": "tdt", "durations": DURATIONS} if tdt else {}),
        },
        "loss": {"loss_name": kind, f"{kind}_kwargs": {**loss, **extra}},
    }
    if name == "hybrid":
        found["aux_ctc"] = {
            "ctc_loss_weight": 0.3,
            "use_cer": False,
            "ctc_reduction": "mean_batch",
            "decoder": ctc,
            "decoding": {"strategy": "greedy"},
        }
    return found


@torch.no_grad()
def randomise(model: nemo_asr.models.ASRModel) -> None:
    """Give every weight and statistic a value of its own, and make decisions differ."""
    generator = torch.Generator().manual_seed(SEED)

    def normal(tensor: torch.Tensor, mean: float, scale: float) -> None:
        tensor.copy_(mean + scale * torch.randn(tensor.shape, generator=generator))

    for key, tensor in model.state_dict().items():
        if key.startswith("preprocessor") or not tensor.is_floating_point():
            continue
        if key.endswith("running_var"):
            normal(tensor, 0.0, 1.0)
            tensor.abs_().add_(0.5)
        elif key.endswith("running_mean") or "bias" in key:
            normal(tensor, 0.0, 0.3)
        elif tensor.ndim == 1:
            normal(tensor, 1.0, 0.2)
        elif "embed" in key:
            normal(tensor, 0.0, 1.0)
            tensor[-1] = 0  # the blank's row, which NeMo never trains
        else:
            normal(tensor, 0.0, 1.2 * tensor[0].numel() ** -0.5)
    vocab = model.tokenizer.vocab_size
    for key, tensor in model.state_dict().items():
        if "decoder_layers" in key or "joint_net" in key:
            if key.endswith("weight"):
                tensor.mul_(5)
            else:
                tensor.zero_()
                tensor[vocab + 1 :] += torch.tensor([-4.0, 1, 0.5, 0, -0.5])[
                    : len(tensor) - vocab - 1
                ]


def make_sound() -> tuple[torch.Tensor, torch.Tensor]:
    """Return two utterances of noise and tones that change every 80 ms, as 16-bit samples."""
    generator = torch.Generator().manual_seed(SEED + 1)
    lengths = torch.tensor([int(16000 * seconds) for seconds in SECONDS])
    seconds = torch.arange(int(lengths.max())) / 16000
    place = (seconds / 0.08).long()
    pitch = 200 + 3000 * torch.rand(2, int(place.max()) + 1, generator=generator)
    loud = torch.rand(2, int(place.max()) + 1, generator=generator)
    tone = loud[:, place] * torch.sin(2 * torch.pi * pitch[:, place] * seconds)
    sound = 0.3 * tone + 0.02 * torch.randn(tone.shape, generator=generator)
    sound = (sound.clamp(-1, 1) * 32767).round()
    sound[1, lengths[1] :] = 0
    return sound.to(torch.int16), lengths


@torch.no_grad()
def golden(model: nemo_asr.models.ASRModel, name: str) -> dict[str, torch.Tensor]:
    """Return features, encoder output, scores and text of the sound, as NeMo computes them."""
    model.eval()
    model.preprocessor.featurizer.dither = 0.0
    sound, lengths = make_sound()
    signal = sound.float() / 32768
    features, frames = model.preprocessor(input_signal=signal, length=lengths)
    encoded, steps = model.encoder(audio_signal=features, length=frames)
    found = {"features": features.mT, "frames": frames, "encoded": encoded.mT, "steps": steps}
    if name != "ctc":
        found["tokens"] = torch.tensor([[3, 7, 1, 12], [5, 5, 2, 0]])
        predicted, _, _ = model.decoder(targets=found["tokens"], target_length=torch.tensor([4, 3]))
        bias = model.joint.joint_net[-1].bias
        spread(model.joint.enc, encoded, steps)
        model.joint.pred.weight.mul_(2)  # or one symbol would be said again and again
        centre(model.joint.joint_net[-1], model.joint.joint(encoded.mT, predicted.mT))
        best = balance(bias, lambda: transduce(model, encoded, steps))
        found["joint"] = model.joint.joint(encoded.mT[:, :16], predicted.mT)
        store(found, "text", best)
    if name in ("ctc", "hybrid"):
        decoder = model.decoder if name == "ctc" else model.ctc_decoder
        decoding = model.decoding if name == "ctc" else model.ctc_decoding

        def recognise() -> Hypotheses:
            scores = decoder(encoder_output=encoded)
            found: Hypotheses = decoding.ctc_decoder_predictions_tensor(scores, steps)
            return found

        bias = decoder.decoder_layers[0].bias
        spread(decoder.decoder_layers[0], encoded, steps)
        best = balance(bias, recognise)
        found["ctc"] = decoder(encoder_output=encoded)
        store(found, "ctc_text", best)
    return {key: value.contiguous().clone() for key, value in found.items()}


def transduce(
    model: nemo_asr.models.ASRModel, encoded: torch.Tensor, steps: torch.Tensor
) -> Hypotheses:
    """Return NeMo's greedy hypotheses of a transducer."""
    found: Hypotheses = model.decoding.rnnt_decoder_predictions_tensor(encoded, steps)
    return found


def spread(layer: torch.nn.Linear, encoded: torch.Tensor, steps: torch.Tensor) -> None:
    """Make the outputs of a layer differ from step to step, as those of a trained one do."""
    rows = torch.cat([row[:, :length].mT for row, length in zip(encoded, steps, strict=True)])
    values, directions = torch.linalg.eigh(torch.cov(rows.mT))
    values = values.clamp(min=0.01 * float(values.max()))
    whitening = directions @ torch.diag(values**-0.5) @ directions.mT
    generator = torch.Generator().manual_seed(SEED + 2)
    weight = torch.randn(len(layer.bias), len(whitening), generator=generator) @ whitening
    layer.weight.copy_(weight.view_as(layer.weight))
    layer.bias.copy_(-weight @ rows.mean(0))


def centre(layer: torch.nn.Linear, scores: torch.Tensor) -> None:
    """Give every token the same chance, and a spread of 3, whatever all steps have in common."""
    tokens = scores.flatten(0, -2)[:, : VOCAB + 1]
    scale = 3 / tokens.std(0)
    layer.weight[: VOCAB + 1] *= scale[:, None]
    layer.bias[: VOCAB + 1] = (layer.bias[: VOCAB + 1] - tokens.mean(0)) * scale


def balance(bias: torch.Tensor, recognise: Callable[[], Hypotheses]) -> Hypotheses:
    """Choose the blank's bias for which the share of blanks is as wanted; return the hypotheses."""
    base, chosen, most = float(bias[VOCAB]), 0.0, 0
    for step in range(-12, 25):
        bias[VOCAB] = base + step / 2
        tokens = [int(t) for one in recognise() for t in one.y_sequence if int(t) < VOCAB]
        share, kinds = 80 / (80 + len(tokens)), len(set(tokens))
        print(f"blank bias {step / 2}: {len(tokens)} tokens, {kinds} kinds")
        if BLANKS[0] < share < BLANKS[1] and kinds > most:
            chosen, most = step / 2, kinds
    assert most, "no bias of the blank gives a useful text"
    bias[VOCAB] = base + chosen
    return recognise()


def store(found: dict[str, torch.Tensor], name: str, best: Hypotheses) -> None:
    """Keep texts as bytes."""
    for row, hypothesis in enumerate(best):
        print(name, row, hypothesis.text)
        found[f"{name}_{row}"] = torch.tensor(list(hypothesis.text.encode()), dtype=torch.uint8)


def compress(path: Path) -> None:
    """Pack an archive again with gzip, as older versions of NeMo wrote it."""
    with tarfile.open(path) as old:
        members = [(member, old.extractfile(member)) for member in old]
        content = [(member, file.read() if file else b"") for member, file in members]
    with tarfile.open(path, "w:gz", compresslevel=9) as new:
        for member, data in content:
            new.addfile(member, io.BytesIO(data))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
