from asr_lab.testing import ModelContract


class TestWhisper(ModelContract):
    model = "whisper"
