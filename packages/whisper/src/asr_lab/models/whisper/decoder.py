"""The text decoder: a transformer that attends the encoder's steps."""

from typing import cast

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from asr_lab.layers.masking import key_mask
from asr_lab.layers.norms import LayerNorm
from asr_lab.models.base import AttentionDecoder, EncoderOutput, State
from asr_lab.models.whisper.config import WhisperConfig
from asr_lab.models.whisper.layers import DecoderBlock, Memory
from asr_lab.utils.errors import UserError

EMBEDDING_SCALE, POSITION_SCALE = 0.02, 0.01


class TextDecoder(AttentionDecoder):
    """Scores the tokens, whose ids are the tokenizer's, and the end, which comes after them.

    The embedding has two more rows, end and start, and gives the scores as well.
    """

    def __init__(self, config: WhisperConfig) -> None:
        """Build all blocks; embeddings start small, because they are the scores' weights too."""
        super().__init__()
        self.end_id, self.start_id = config.vocab, config.vocab + 1
        self.capacity = config.positions
        self.embedding = nn.Embedding(config.vocab + 2, config.dim)
        self.positions = nn.Parameter(torch.empty(config.positions, config.dim))
        nn.init.normal_(self.embedding.weight, std=EMBEDDING_SCALE)
        nn.init.normal_(self.positions, std=POSITION_SCALE)
        self.dropout = nn.Dropout(config.dropout)
        self.blocks = nn.ModuleList(DecoderBlock(config) for _ in range(config.decoder_layers))
        self.norm = LayerNorm(config.dim)

    def logits(
        self, tokens: Int[Tensor, "batch tokens"], encoder_output: EncoderOutput
    ) -> Float[Tensor, "batch tokens scores"]:
        """Return the scores of what follows each of `tokens`, which begin with the start.

        Raises UserError if there are more tokens than positions.
        """
        return self._run(tokens, None, encoder_output)[0]

    def step(
        self, tokens: Int[Tensor, " batch"], state: State, encoder_output: EncoderOutput
    ) -> tuple[Float[Tensor, "batch scores"], State]:
        """Return log probabilities of the next token after `tokens`, and the new state.

        The state holds keys and values, of the tokens so far and of the encoder's steps.
        Raises UserError past the last position.
        """
        logits, state = self._run(tokens[:, None], state, encoder_output)
        precise = logits[:, 0].to(torch.promote_types(logits.dtype, torch.float32))
        return precise.log_softmax(-1), state

    def _run(
        self, tokens: Int[Tensor, "batch tokens"], state: State, encoder_output: EncoderOutput
    ) -> tuple[Float[Tensor, "batch tokens scores"], State]:
        past = cast(tuple[tuple[Memory | None, Memory], ...] | None, state)
        if past is None:
            steps = encoder_output.sequences.values
            past = tuple((None, block.cross.remember(steps)) for block in self._blocks())
        mask = key_mask(encoder_output.sequences.mask())
        values = self._embed(tokens, 0 if past[0][0] is None else past[0][0][0].shape[2])
        memories = []
        for block, (own, encoded) in zip(self._blocks(), past, strict=True):
            values, own = block(values, own, encoded, mask)
            memories.append((own, encoded))
        weights = self.embedding.weight[: self.end_id + 1]
        return self.norm(values) @ weights.to(values.dtype).T, tuple(memories)

    def _blocks(self) -> list[DecoderBlock]:
        return [block for block in self.blocks if isinstance(block, DecoderBlock)]

    def _embed(
        self, tokens: Int[Tensor, "batch tokens"], first: int
    ) -> Float[Tensor, "batch tokens dim"]:
        last = first + tokens.shape[1]
        if last > len(self.positions):
            raise UserError(
                f"the decoder holds {len(self.positions)} tokens, start included; got {last}; "
                "raise --model.positions or choose a tokenizer with longer tokens"
            )
        embedded: Tensor = self.embedding(tokens) + self.positions[first:last]
        dropped: Tensor = self.dropout(embedded)
        return dropped
