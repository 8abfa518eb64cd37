from asr_lab.testing import ModelContract


class TestSSM(ModelContract):
    model = "ssm"
