"""Greedy searches that go on where they stopped: their results over all pieces are the whole's."""

from collections.abc import Mapping
from typing import Protocol

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional as F

from asr_lab.decoding.ctc import ctc_greedy
from asr_lab.decoding.transducer import run_eagerly
from asr_lab.decoding.transducer_step import Encoded, Progress, advance, start, steps_left
from asr_lab.models.base.interfaces import CTCDecoder, Decoder, TransducerDecoder
from asr_lab.models.base.options import DecodingOptions
from asr_lab.models.base.outputs import EncoderOutput, Hypothesis
