"""Write the `.nemo` archives that the tests read: tiny, random, and made by NeMo itself.

Run it with nemo-toolkit[asr]==3.0.0, in an environment of its own, which needs none of ASR Lab:

    python packages/conformer/tools/make_nemo_fixtures.py packages/conformer/tests/fixtures/nemo

Beside each archive lies a file of golden tensors: what NeMo makes of some noise. Weights,
batch-norm statistics and position biases start at random, so that a wrong name or a wrong layout
shows; then the weights are overfitted on the noise, so that NeMo really hears `SAID` in it.
"""

import io
import math
import sys
import tarfile
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeAlias
from unittest.mock import patch

import nemo.collections.asr as nemo_asr
import torch
from nemo_paths import BLANK, DURATIONS, Decision, draw_path
from omegaconf import DictConfig, OmegaConf
from safetensors.torch import save_file
from sentencepiece import SentencePieceProcessor, SentencePieceTrainer
from torch.nn.functional import cross_entropy

Hypotheses: TypeAlias = list[Any]
"""What NeMo's decoders return."""
Paths: TypeAlias = dict[str, list[Decision]]
"""Every decision of a search, by the kind of head: `ctc`, `rnnt`, `tdt`."""
SEED = 11
VOCAB = BLANK
TEXTS = ["the cat sat on the mat", "a dog ate the bread", "one two three four five"] * 3
SAID = ("a dog ate the bread", "one two three", "the cat sat on the mat")
"""What is heard in each utterance, and backwards by the CTC decoder of a hybrid."""
SECONDS = (4.07, 2.31, 3.52)
"""Of 408, 232 and 353 frames, and 51, 29 and 45 steps: even and odd."""
NAMES = ("ctc", "rnnt", "tdt", "hybrid")
TOKENS = ((3, 7, 1, 12), (5, 5, 2), (27, 9))
"""What the stored scores and losses are of; not what is heard, of which nothing is left to lose."""
SURE = 0.9
"""Least probability of every decision, so that no rounding changes one."""


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
    width = 16 if name == "hybrid" else 20  # transformers' classes know one width for both networks
    loss = {"fastemit_lambda": 0.0, "clamp": -1.0}
    kind = "pytorch" if name != "tdt" else "tdt_pytorch"
    extra = {"durations": DURATIONS, "sigma": 0.02, "omega": 0.1} if tdt else {}
    found: dict[str, object] = {
        "model_defaults": {
            "enc_hidden": 24,
            "pred_hidden": width,
            "joint_hidden": 20,
            **({"tdt_durations": DURATIONS, "num_tdt_durations": len(DURATIONS)} if tdt else {}),
        },
        "decoder": {
            "_target_": "nemo.collections.asr.modules.RNNTDecoder",
            "normalization_mode": None,
            "random_state_sampling": False,
            "blank_as_pad": True,
            "prednet": {"pred_hidden": width, "pred_rnn_layers": 1 + tdt, "dropout": 0.2},
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
                "pred_hidden": width,
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
    """Give every weight and statistic a value of its own."""
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


def make_sound() -> tuple[torch.Tensor, torch.Tensor]:
    """Return utterances of noise and tones that change every 80 ms, as 16-bit samples."""
    generator = torch.Generator().manual_seed(SEED + 1)
    lengths = torch.tensor([int(16000 * seconds) for seconds in SECONDS])
    seconds = torch.arange(int(lengths.max())) / 16000
    place = (seconds / 0.08).long()
    rows = len(lengths)
    pitch = 200 + 3000 * torch.rand(rows, int(place.max()) + 1, generator=generator)
    loud = torch.rand(rows, int(place.max()) + 1, generator=generator)
    tone = loud[:, place] * torch.sin(2 * torch.pi * pitch[:, place] * seconds)
    sound = 0.3 * tone + 0.02 * torch.randn(tone.shape, generator=generator)
    sound = (sound.clamp(-1, 1) * 32767).round()
    for row, length in enumerate(lengths):
        sound[row, length:] = 0
    return sound.to(torch.int16), lengths


def golden(model: nemo_asr.models.ASRModel, name: str) -> dict[str, torch.Tensor]:
    """Overfit the model on the sound; return what NeMo then makes of it."""
    model.eval()  # no dropout, and the statistics stay as they are
    model.preprocessor.featurizer.dither = 0.0
    sound, lengths = make_sound()
    signal = sound.float() / 32768
    features, frames = model.preprocessor(input_signal=signal, length=lengths)
    _, steps = model.encoder(audio_signal=features, length=frames)
    kinds = {"hybrid": ("rnnt", "ctc")}.get(name, (name,))
    said = {kind: SAID[::-1] if kind != kinds[0] else SAID for kind in kinds}
    texts = {k: [model.tokenizer.text_to_ids(text) for text in said[k]] for k in kinds}
    paths = {kind: draw_path(kind, texts[kind], steps.tolist(), SEED) for kind in kinds}
    overfit(model, features, frames, texts, paths)
    with torch.no_grad():
        encoded, _ = model.encoder(audio_signal=features, length=frames)
        found = {"features": features.mT, "frames": frames, "encoded": encoded.mT, "steps": steps}
        for kind, path in paths.items():
            found |= golden_head(model, kind, encoded, steps, said[kind])
            if kind != "ctc":
                found["decisions"] = torch.tensor(path)
    return {key: value.contiguous().clone() for key, value in found.items()}


def overfit(
    model: nemo_asr.models.ASRModel,
    features: torch.Tensor,
    frames: torch.Tensor,
    texts: dict[str, list[list[int]]],
    paths: Paths,
) -> None:
    """Train until every decision of every path is sure."""
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for step in range(5000):
        encoded, _ = model.encoder(audio_signal=features, length=frames)
        losses = []
        for kind, path in paths.items():
            rows, steps, positions, tokens, durations = torch.tensor(path).mT
            scores = head_scores(model, kind, encoded, texts[kind])[rows, steps, positions]
            losses.append(cross_entropy(scores[:, : VOCAB + 1], tokens, reduction="none"))
            if kind == "tdt":  # duration n is the nth
                losses.append(cross_entropy(scores[:, VOCAB + 1 :], durations, reduction="none"))
        loss = torch.cat(losses)
        if step % 100 == 0:
            print(f"step {step}: least probability {float((-loss.detach()).exp().min()):.3f}")
        if float(loss.detach().max()) < -math.log(SURE):
            return
        optimizer.zero_grad()
        loss.mean().backward()
        optimizer.step()
    raise AssertionError("the model does not learn the paths")


def head_scores(
    model: nemo_asr.models.ASRModel, kind: str, encoded: torch.Tensor, texts: list[list[int]]
) -> torch.Tensor:
    """Return scores by utterance, encoder step and number of tokens said; for CTC that is one."""
    if kind == "ctc":
        decoder = model.ctc_decoder if hasattr(model, "ctc_decoder") else model.decoder
        found: torch.Tensor = decoder(encoder_output=encoded)[:, :, None]
        return found
    targets, lengths = padded(texts)
    predicted, _, _ = model.decoder(targets=targets, target_length=lengths)
    scores: torch.Tensor = model.joint.joint(encoded.mT, predicted.mT)
    return scores


def padded(texts: Sequence[Sequence[int]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return tokens with zeros as padding, and their lengths."""
    rows = [torch.tensor(text) for text in texts]
    lengths = torch.tensor([len(row) for row in rows])
    return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True), lengths


def golden_head(
    model: nemo_asr.models.ASRModel,
    kind: str,
    encoded: torch.Tensor,
    steps: torch.Tensor,
    said: Sequence[str],
) -> dict[str, torch.Tensor]:
    """Return scores and losses of `TOKENS`, and the text that NeMo hears."""
    tokens, lengths = padded(TOKENS)
    scores = head_scores(model, kind, encoded, [list(text) for text in TOKENS])
    hybrid = hasattr(model, "ctc_decoder")
    if kind == "ctc":
        scores = scores[:, :, 0]
        decoding = model.ctc_decoding if hybrid else model.decoding
        heard: Hypotheses = decoding.ctc_decoder_predictions_tensor(scores, steps)
        loss, prefix = (model.ctc_loss if hybrid else model.loss), "ctc_"
        loss.reduction, loss._apply_reduction = "none", False
    else:
        heard = model.decoding.rnnt_decoder_predictions_tensor(encoded, steps)
        loss, prefix = model.loss, ""
        loss.reduction = None
        loss._loss.blank = VOCAB  # NeMo's count of tokens has the durations in it
    with patch("torch.Tensor.cuda", lambda tensor: tensor):  # which NeMo's TDT loss calls
        losses = loss(log_probs=scores, targets=tokens, input_lengths=steps, target_lengths=lengths)
    found = {"tokens": tokens, "token_lengths": lengths, f"{prefix}loss": losses}
    found["ctc" if kind == "ctc" else "joint"] = scores if kind == "ctc" else scores[:, ::4]
    for row, hypothesis in enumerate(heard):
        print(kind, row, hypothesis.text)
        assert hypothesis.text == said[row], "NeMo decides otherwise"
        text = torch.tensor(list(hypothesis.text.encode()), dtype=torch.uint8)
        found[f"{prefix}text_{row}"] = text
    return found


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
