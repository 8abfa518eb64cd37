"""Sentencepiece models as data: pieces with scores, and how text is normalised.

Such a model is a protocol buffer (sentencepiece_model.proto), of which few fields matter here.
"""

import re
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

from asr_lab.utils.errors import UserError

UNIGRAM, BPE = 1, 2
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6
"""Types of pieces."""
BYTE_PIECE = re.compile("<0x[0-9A-F]{2}>")
VARINT, FIXED64, LENGTH, FIXED32 = 0, 1, 2, 5


@dataclass(frozen=True)
class Piece:
    """A token of a sentencepiece model."""

    text: str
    score: float
    type: int = NORMAL


@dataclass(frozen=True, kw_only=True)
class Pieces:
    """What a sentencepiece model says."""

    pieces: Sequence[Piece]
    kind: int
    """UNIGRAM or BPE."""
    character_map: bytes = b""
    """Normalisation rules, as sentencepiece compiles them."""
    prefix: bool = True
    """Put a space before a text."""
    squeeze: bool = True
    """Take several spaces as one, and none at the ends."""

    @property
    def byte_fallback(self) -> bool:
        """True if characters that are no piece become bytes."""
        return any(piece.type == BYTE for piece in self.pieces)


def read_pieces(data: bytes) -> Pieces:
    """Read a serialised sentencepiece model; raises UserError if it is none."""
    pieces: list[Piece] = []
    kind, rules = UNIGRAM, dict[int, bytes | int]()
    try:
        for number, value in _fields(data):
            if number == 1 and isinstance(value, bytes):
                pieces.append(_piece(dict(_fields(value))))
            elif number == 2 and isinstance(value, bytes):
                kind = cast(int, dict(_fields(value)).get(3, UNIGRAM))
            elif number == 3 and isinstance(value, bytes):
                rules = dict(_fields(value))
        character_map = rules.get(2, b"")
        if not isinstance(character_map, bytes):
            raise TypeError("rules that are a number")
    except (IndexError, struct.error, TypeError, UnicodeDecodeError) as error:
        raise UserError("the tokenizer is damaged: it is no sentencepiece model") from error
    if kind not in (UNIGRAM, BPE):
        raise UserError("the tokenizer is a sentencepiece model of words or characters; give bpe")
    return Pieces(
        pieces=pieces,
        kind=kind,
        character_map=character_map,
        prefix=bool(rules.get(3, 1)),
        squeeze=bool(rules.get(4, 1)),
    )


def write_pieces(pieces: Pieces) -> bytes:
    """Return a serialised sentencepiece model."""
    encoded = b""
    for piece in pieces.pieces:
        text = _field(1, piece.text.encode())
        kind = _field(3, piece.type) if piece.type != NORMAL else b""
        encoded += _field(1, text + _tag(2, FIXED32) + struct.pack("<f", piece.score) + kind)
    unknown = next((i for i, piece in enumerate(pieces.pieces) if piece.type == UNKNOWN), None)
    if unknown is None:
        raise UserError("the tokenizer has no unknown token, which sentencepiece needs")
    trainer = _field(3, pieces.kind) + _field(4, len(pieces.pieces))
    trainer += _field(35, int(pieces.byte_fallback)) + _field(40, unknown)
    trainer += _field(45, pieces.pieces[unknown].text.encode())
    rules = _field(2, pieces.character_map) if pieces.character_map else b""
    rules += _field(3, int(pieces.prefix)) + _field(4, int(pieces.squeeze))
    return encoded + _field(2, trainer) + _field(3, rules)


def _piece(values: Mapping[int, bytes | int]) -> Piece:
    text, score, kind = values.get(1, b""), values.get(2, 0), values.get(3, NORMAL)
    if not isinstance(text, bytes) or not isinstance(score, int) or not isinstance(kind, int):
        raise TypeError("a piece whose text is a number, or whose numbers are text")
    (number,) = struct.unpack("<f", struct.pack("<I", score))
    return Piece(text.decode(), float(number), kind)


def _fields(data: bytes) -> Iterator[tuple[int, bytes | int]]:
    """Yield number and value of the fields of a message; numbers of four bytes stay bits."""
    place = 0
    while place < len(data):
        tag, place = _varint(data, place)
        number, wire = tag >> 3, tag & 7
        if wire == VARINT:
            value, place = _varint(data, place)
            yield number, value
            continue
        length = {FIXED64: 8, FIXED32: 4}.get(wire, -1)
        if wire == LENGTH:
            length, place = _varint(data, place)
        if length < 0 or place + length > len(data):
            raise IndexError("a field reaches behind the end")
        content = data[place : place + length]
        yield number, content if wire == LENGTH else int.from_bytes(content, "little")
        place += length


def _varint(data: bytes, place: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[place]
        value |= (byte & 127) << shift
        place, shift = place + 1, shift + 7
        if byte < 128 or shift > 63:
            return value, place


def _field(number: int, value: bytes | int) -> bytes:
    if isinstance(value, int):
        return _tag(number, VARINT) + _encoded(value)
    return _tag(number, LENGTH) + _encoded(len(value)) + value


def _tag(number: int, wire: int) -> bytes:
    return _encoded(number << 3 | wire)


def _encoded(value: int) -> bytes:
    """Return an unsigned number, seven bits a byte, the lowest first."""
    found = bytearray()
    while value > 127:
        found.append(value & 127 | 128)
        value >>= 7
    return bytes([*found, value])
