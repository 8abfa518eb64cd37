"""The error for audio that cannot be used."""

from asr_lab.utils.errors import UserError


class AudioError(UserError):
    """Audio that is missing, damaged or not audio; the message names the file in one line."""
