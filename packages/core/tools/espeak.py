"""Speak a sentence with espeak-ng, the synthesiser that the wheel `espeakng_loader` bundles.

A development tool: espeak-ng is under the GPL, and nothing of the installed packages uses it. What
it says depends on everything it said before, so whoever wants the same audio twice starts a fresh
process and speaks the same sentences in the same order.
"""

import ctypes
from pathlib import Path

import espeakng_loader
import numpy as np
from jaxtyping import Int16
from spoken_voices import Voice

SYNCHRONOUS = 2
RETURN_ERRORS = 0x8000
RATE, PITCH, PITCH_RANGE = 1, 3, 4
POSITION_CHARACTER = 1
UTF8 = 1
RANDOM_SEED = 7

Callback = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p
)


class Synthesiser:
    """The espeak-ng library, loaded and initialised; make one per process."""

    def __init__(self) -> None:
        """Load the library; raises RuntimeError if it does not start."""
        self.data = Path(espeakng_loader.get_data_path())
        self.library = ctypes.CDLL(espeakng_loader.get_library_path())
        self.sample_rate: int = self.library.espeak_Initialize(
            SYNCHRONOUS, 0, str(self.data).encode(), RETURN_ERRORS
        )
        if self.sample_rate <= 0:
            raise RuntimeError(f"espeak-ng does not start with the data in {self.data}")
        self._chunks: list[bytes] = []
        # Kept for as long as the library may call it.
        self._callback = Callback(self._receive)
        self.library.espeak_SetSynthCallback(self._callback)

    def _receive(self, samples: object, number: int, _events: object) -> int:
        if samples and number > 0:
            self._chunks.append(ctypes.string_at(samples, 2 * number))  # type: ignore[arg-type]
        return 0

    def speak(
        self, text: str, voice: Voice, rate: int, pitch: int
    ) -> Int16[np.ndarray, " samples"]:
        """Return the audio of `text` at the library's sample rate.

        Raises ValueError for a voice that is not there: the library would quietly take another.
        """
        if not (self.data / "voices" / "!v" / voice.variant).is_file():
            raise ValueError(f"espeak-ng has no variant {voice.variant!r}")
        self._check(self.library.espeak_SetVoiceByName(voice.name.encode()), voice.name)
        for parameter, value in ((RATE, rate), (PITCH, pitch), (PITCH_RANGE, voice.pitch_range)):
            self._check(self.library.espeak_SetParameter(parameter, value, 0), voice.name)
        self._chunks.clear()
        self.library.espeak_ng_SetRandSeed(ctypes.c_long(RANDOM_SEED))
        data = text.encode() + b"\0"
        code = self.library.espeak_Synth(
            data, ctypes.c_size_t(len(data)), 0, POSITION_CHARACTER, 0, UTF8, None, None
        )
        self._check(code, text)
        return np.frombuffer(b"".join(self._chunks), np.int16)

    def _check(self, code: int, what: str) -> None:
        if code != 0:
            raise ValueError(f"espeak-ng answers error {code} for {what!r}")
