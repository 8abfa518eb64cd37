"""Make an Ogg Opus file small and always the same: no padding, few pages, a fixed serial number.

libsndfile writes a random serial number, 800 bytes of empty comment and one page per second, which
is a quarter of a two-second file. Formats: RFC 3533 (Ogg) and RFC 7845 (Opus in Ogg).
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass

CAPTURE = b"OggS"
HEADER = struct.Struct("<4sBBqIIIB")
SERIAL = 1
FIRST, LAST = 2, 4
MAX_SEGMENTS = 255
TAGS = b"OpusTags" + struct.pack("<I", 0) + struct.pack("<I", 0)
"""A comment packet with an empty vendor name and no comments."""
SAMPLES_PER_PACKET = 960
"""20 ms at the 48 kHz in which Opus counts."""


@dataclass(frozen=True)
class Page:
    """One page of an Ogg stream; the packets in it are whole."""

    packets: tuple[bytes, ...]
    position: int
    """Samples at 48 kHz up to the end of the page, pre-skip included."""
    flags: int = 0


def _crc_table() -> tuple[int, ...]:
    table = []
    for byte in range(256):
        value = byte << 24
        for _ in range(8):
            value = (value << 1) ^ (0x04C11DB7 if value & 0x80000000 else 0)
        table.append(value & 0xFFFFFFFF)
    return tuple(table)


CRC_TABLE = _crc_table()


def checksum(data: bytes) -> int:
    """Return the checksum of a page whose checksum field is zero (RFC 3533, section 6)."""
    value = 0
    for byte in data:
        value = ((value << 8) & 0xFFFFFFFF) ^ CRC_TABLE[(value >> 24) ^ byte]
    return value


def read_pages(data: bytes) -> Iterator[Page]:
    """Yield the pages of a stream whose packets do not run over the end of a page.

    Raises ValueError for anything else.
    """
    start = 0
    while start < len(data):
        capture, _, flags, position, _, _, _, count = HEADER.unpack_from(data, start)
        segments = data[start + HEADER.size : start + HEADER.size + count]
        start += HEADER.size + count
        packets, packet = [], b""
        for size in segments:
            packet += data[start : start + size]
            start += size
            if size < MAX_SEGMENTS:
                packets.append(packet)
                packet = b""
        if capture != CAPTURE or flags & 1 or packet:
            raise ValueError("not an Ogg stream with whole packets on every page")
        yield Page(tuple(packets), position, flags)


def write_page(page: Page, number: int) -> bytes:
    """Return the bytes of page `number` of a stream."""
    segments = b"".join(
        bytes([MAX_SEGMENTS]) * (len(packet) // 255) + bytes([len(packet) % 255])
        for packet in page.packets
    )
    if len(segments) > MAX_SEGMENTS:
        raise ValueError(f"{len(segments)} segments on one Ogg page; at most {MAX_SEGMENTS}")
    fields = (CAPTURE, 0, page.flags, page.position, SERIAL, number)
    body = segments + b"".join(page.packets)
    value = checksum(HEADER.pack(*fields, 0, len(segments)) + body)
    return HEADER.pack(*fields, value, len(segments)) + body


def compact(data: bytes) -> bytes:
    """Return the same Opus packets in as few pages as possible, the same bytes every time."""
    head, _, *audio = read_pages(data)
    packets = [packet for page in audio for packet in page.packets]
    pages = [Page(head.packets, 0, FIRST), Page((TAGS,), 0)]
    pages += _audio_pages(packets, end=audio[-1].position)
    return b"".join(write_page(page, number) for number, page in enumerate(pages))


def _audio_pages(packets: list[bytes], end: int) -> Iterator[Page]:
    """Fill pages with packets; only the last position may lie inside a packet."""
    taken: list[bytes] = []
    segments = done = 0
    for packet in packets:
        needed = len(packet) // 255 + 1
        if segments + needed > MAX_SEGMENTS:
            yield Page(tuple(taken), done * SAMPLES_PER_PACKET)
            taken, segments = [], 0
        taken.append(packet)
        segments += needed
        done += 1
    yield Page(tuple(taken), end, LAST)
