"""Configuration files in three languages become the same words as the command line."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asr_lab.cli.config_files import assignments, flatten, looks_like_file, read_config_file
from asr_lab.cli.flags import flags_of
from asr_lab.training.config import TrainConfig
from asr_lab.utils.errors import UserError

EXPECTED = {
    "model": ("conformer",),
    "train.lr": ("3e-4",),
    "train.betas": ("0.9", "0.95"),
    "train.compile": ("true",),
    "data": ("manifest:a.jsonl", "fleurs/no"),
    "data.batch-seconds": ("60",),
    "eval-data": ("no",),
}
FILES = {
    "a.yaml": """
        model: conformer
        train: {lr: 3e-4, betas: [0.9, 0.95], compile: true}
        data: [manifest:a.jsonl, fleurs/no]
        data.batch_seconds: 60
        eval_data: no
    """,
    "a.yml": """
        model: conformer
        train.lr: 3e-4
        train:
          betas:
            - 0.9
            - 0.95
          compile: true   # a comment
        data: ["manifest:a.jsonl", 'fleurs/no']
        data.batch-seconds: 60
        eval-data: no
    """,
    "a.json": """
        {"model": "conformer", "train": {"lr": 3e-4, "betas": [0.9, 0.95], "compile": true},
         "data": ["manifest:a.jsonl", "fleurs/no"], "data.batch-seconds": 60, "eval-data": "no"}
    """,
    "a.toml": """
        model = "conformer"
        data = ["manifest:a.jsonl", "fleurs/no"]
        "data.batch-seconds" = 60
        eval_data = "no"
        [train]
        lr = 3e-4
        betas = [0.9, 0.95]
        compile = true
    """,
}


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text("\n".join(line.removeprefix("        ") for line in text.splitlines()))
    return path


@pytest.mark.parametrize("name", FILES)
def test_all_languages_say_the_same(name: str, tmp_path: Path) -> None:
    assert read_config_file(write(tmp_path, name, FILES[name])) == EXPECTED


BAD = [
    ("a.yaml", "train: {lr: 1", "not YAML"),
    ("a.yaml", "a: 1\na: 2", "a is given twice"),
    ("a.yaml", "train.lr: 1\ntrain: {lr: 2}", "train.lr is given twice"),
    ("a.yaml", "- a\n- b", "must hold keys and values"),
    ("a.yaml", "word", "must hold keys and values"),
    ("a.yaml", "data: [[a]]", "data: a list holds plain values only"),
    ("a.yaml", "a: &x [*x]", "contains itself"),
    ("a.json", '{"a": 1', "a.json: Expecting"),
    ("a.json", '{"a": 1, "a": 2}', "a is given twice"),
    ("a.json", "[1]", "must hold keys and values"),
    ("a.toml", "a = ", "a.toml: Invalid value"),
    ("a.toml", "a = 1\na = 2", "Cannot overwrite a value"),
]


@pytest.mark.parametrize(("name", "text", "message"), BAD)
def test_a_damaged_file_is_named_with_what_is_wrong(
    name: str, text: str, message: str, tmp_path: Path
) -> None:
    path = write(tmp_path, name, text)
    with pytest.raises(UserError) as caught:
        read_config_file(path)
    assert message in str(caught.value) and name in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_tag_of_yaml_is_text_and_runs_nothing(tmp_path: Path) -> None:
    path = write(tmp_path, "a.yaml", f"seed: !!python/object/apply:os.mkdir ['{tmp_path}/x']")
    assert read_config_file(path) == {"seed": (f"{tmp_path}/x",)}
    assert not (tmp_path / "x").exists()


def test_a_file_that_is_not_there_or_not_text_is_a_mistake(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no such file"):
        read_config_file(tmp_path / "no.yaml")
    (tmp_path / "b.yaml").write_bytes(b"\xff\xfe\x00a")
    with pytest.raises(UserError, match="b.yaml: "):
        read_config_file(tmp_path / "b.yaml")
    with pytest.raises(UserError, match="neither a preset nor a file that ends in .yaml"):
        read_config_file(tmp_path / "c.ini")


def test_an_empty_file_changes_nothing(tmp_path: Path) -> None:
    assert read_config_file(write(tmp_path, "a.yaml", "# nothing yet")) == {}


def test_a_byte_order_mark_is_no_part_of_the_first_key(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_bytes(b"\xef\xbb\xbfseed: 1")
    assert read_config_file(tmp_path / "a.yaml") == {"seed": ("1",)}


def test_files_are_told_from_presets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "settings").write_text("")
    found = [looks_like_file(text) for text in ("a.yaml", "x/y", "settings", "tiny", "")]
    assert found == [True, True, True, False, False]


plain = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
keys = st.text("abc", min_size=1)
trees = st.dictionaries(keys, plain | st.lists(plain) | st.dictionaries(keys, plain))


@given(trees)
def test_flattening_keeps_every_leaf(tree: dict[str, object]) -> None:
    flat = flatten(tree, "a.json")
    expected: dict[str, object] = {}
    for key, value in tree.items():
        inner = {f"{key}.{k}": v for k, v in value.items()} if isinstance(value, dict) else {}
        expected.update(inner if isinstance(value, dict) else {key: value})
    assert set(flat) == set(expected)
    for key, value in expected.items():
        items = value if isinstance(value, list) else [value]
        assert len(flat[key]) == len(items)
        for word, item in zip(flat[key], items, strict=True):
            if isinstance(item, float):
                assert float(word) == item
            else:
                known = {"None": "none", "True": "true", "False": "false"}
                assert word == (item if isinstance(item, str) else known.get(str(item), str(item)))


def test_an_unknown_key_of_a_file_is_named_with_the_file() -> None:
    flat = flatten({"train": {"lr": 3e-4, "lrr": 1}}, "a.json")
    found, problems = assignments(flat, "a.json", flags_of(TrainConfig, "train."))
    assert [(one.shown, one.texts) for one in found] == [("a.json: train.lr", ("0.0003",))]
    assert problems == ["a.json: train.lrr: no such key; did you mean train.lr?"]


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_number_in_json_keeps_every_digit(
    tmp_path_factory: pytest.TempPathFactory, x: float
) -> None:
    path = tmp_path_factory.mktemp("json") / "a.json"
    path.write_text(json.dumps({"train": {"lr": x}}))
    ((word,),) = read_config_file(path).values()
    assert float(word) == x
