from asr_lab.testing import ModelContract


class TestConformer(ModelContract):
    model = "conformer"


class TestConformerAsPublished(ModelContract):
    model = "conformer"
    overrides = {"positions": "relative", "norm": "batch", "scale_input": True, "subsampling": 8}
