"""Features of audio that is still arriving: the frames of `features`, as soon as they are known."""

import torch
from jaxtyping import Bool, Float, Float32, Int, Int64
from torch import Tensor

from asr_lab.audio.features import features
from asr_lab.audio.recipes import FeatureRecipe
from asr_lab.utils.errors import UserError


class OnlineFeatures:
    """Cuts the audio of a batch of streams into frames, whatever pieces it comes in.

    Over all calls a stream gets the frames that `features` computes of its whole audio, up to
    rounding. Kept is less than a window and two hops of samples of each stream.
    """

    def __init__(
        self, recipe: FeatureRecipe, streams: int, device: torch.device | str = "cpu"
    ) -> None:
        """Start `streams` at their first sample.

        Raises UserError for a recipe that needs the whole utterance.
        """
        if recipe.normalisation != "none":
            raise UserError(
                f"features {recipe.name!r} are normalised over the whole utterance, which a stream"
                " does not know; train with --model.features nemo_plain"
            )
        self.recipe = recipe
        self.device = torch.device(device)
        self._tail = torch.zeros(streams, 0, device=device)
        self._arrived = torch.zeros(streams, dtype=torch.int64)
        self._given = torch.zeros(streams, dtype=torch.int64)
        self._ended = torch.zeros(streams, dtype=torch.bool)

    @property
    def look_ahead(self) -> int:
        """Samples behind the time of a frame, its number times the hop, that it waits for."""
        return self.recipe.first_sample + self.recipe.window_length

    def push(
        self,
        samples: Float[Tensor, "batch samples"],
        lengths: Int[Tensor, " batch"],
        ends: Bool[Tensor, " batch"] | None = None,
    ) -> tuple[Float32[Tensor, "batch frames mels"], Int64[Tensor, " batch"]]:
        """Take the next samples, in -1 to 1, of each stream; return the frames now known.

        Streams that are True in `ends` end with these samples. Raises ValueError for samples of a
        stream that has ended.
        """
        lengths = lengths.to("cpu", torch.int64)
        if bool((self._ended & (lengths > 0)).any()):
            raise ValueError("a stream that has ended takes no more samples")
        if ends is not None:
            self._ended |= ends.cpu()
        start = self._start(self._given)
        audio, kept = self._join(samples, lengths, self._arrived - start)
        self._arrived += lengths
        ready = self._ready()
        first, count = self._given - start // self.recipe.hop_length, ready - self._given
        found = self._frames(audio, kept + lengths, first, count)
        self._given, before = ready, start
        self._cut(audio, before, self._start(ready))
        return found, count.to(samples.device)

    def _start(self, given: Int64[Tensor, " batch"]) -> Int64[Tensor, " batch"]:
        """Return the sample, a whole number of hops, from which the next frames are computed.

        The next frame starts there or behind it, so that the start that `features` sees does not
        matter: pre-emphasis looks back one sample, but every window is 0 at its first.
        """
        hop = self.recipe.hop_length
        first = given * hop + self.recipe.first_sample
        return torch.div(first, hop, rounding_mode="floor").clamp(min=0) * hop

    def _join(
        self,
        samples: Float[Tensor, "batch samples"],
        lengths: Int64[Tensor, " batch"],
        kept: Int64[Tensor, " batch"],
    ) -> tuple[Float32[Tensor, "batch joined"], Int64[Tensor, " batch"]]:
        """Put each stream's samples behind those that are kept."""
        batch, width = samples.shape
        longest = int((kept + lengths).max()) if batch else 0
        audio = samples.new_zeros(batch, max(longest, self._tail.shape[1]) + width).float()
        audio[:, : self._tail.shape[1]] = self._tail
        places = kept.to(samples.device)[:, None] + torch.arange(width, device=samples.device)
        return audio.scatter(1, places, samples.float())[:, :longest], kept

    def _ready(self) -> Int64[Tensor, " batch"]:
        """Return how many frames are known: those whose window has come, or all there will be."""
        recipe = self.recipe
        whole = torch.div(self._arrived + recipe.rounding, recipe.hop_length, rounding_mode="floor")
        complete = self._arrived - self.look_ahead
        seen = torch.div(complete, recipe.hop_length, rounding_mode="floor") + 1
        return torch.where(self._ended, whole, seen.clamp(min=0).minimum(whole))

    def _frames(
        self,
        audio: Float32[Tensor, "batch joined"],
        lengths: Int64[Tensor, " batch"],
        first: Int64[Tensor, " batch"],
        count: Int64[Tensor, " batch"],
    ) -> Float32[Tensor, "batch frames mels"]:
        """Compute features, and return `count` of each stream's from its `first` on."""
        most = int(count.max()) if len(count) else 0
        if not most:
            return audio.new_zeros(len(audio), 0, self.recipe.mels)
        computed, _ = features(self.recipe, audio, lengths.to(audio.device))
        place = torch.arange(most)
        index = (first[:, None] + place).clamp(max=computed.shape[1] - 1)[..., None]
        chosen = torch.take_along_dim(computed, index.to(audio.device), 1)
        behind = (place >= count[:, None])[..., None].to(audio.device)
        return chosen.masked_fill(behind, 0)

    def _cut(
        self,
        audio: Float32[Tensor, "batch joined"],
        before: Int64[Tensor, " batch"],
        after: Int64[Tensor, " batch"],
    ) -> None:
        """Keep what the next frames need: each stream's samples from `after` on."""
        kept = (self._arrived - after).clamp(min=0)
        width = int(kept.max()) if len(kept) else 0
        index = (after - before)[:, None] + torch.arange(width)
        index = index.clamp(max=max(audio.shape[1] - 1, 0)).to(audio.device)
        self._tail = audio.gather(1, index) if audio.shape[1] else audio
