"""A list in a large JSON file is read a member at a time, and damage is told where it is."""

import json
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from asr_lab.data import gigaspeech, json_stream
from asr_lab.data.json_stream import members
from asr_lab.utils.errors import UserError

texts = st.text('ab"\\é', max_size=3)
scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(st.characters(codec="utf-8"), max_size=6)
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner),
    max_leaves=6,
)
small = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)


def written(folder: Path, content: object, *, indent: int | None = None) -> Path:
    path = folder / "list.json"
    text = content if isinstance(content, str) else json.dumps(content, indent=indent)
    path.write_text(text, encoding="utf-8")
    return path


@small
@given(
    before=st.dictionaries(st.text("xyz", max_size=2), values, max_size=2),
    inside=st.lists(values, max_size=5),
    chunk=st.integers(1, 40),
    indent=st.sampled_from([None, 2]),
)
def test_members_are_those_that_the_whole_file_has(
    tmp_path: Path,
    before: dict[str, object],
    inside: list[object],
    chunk: int,
    indent: int | None,
) -> None:
    path = written(tmp_path, {**before, "audios": inside, "behind": 1}, indent=indent)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_stream, "CHUNK", chunk)
        assert list(members(path, "audios")) == inside


@small
@given(inside=st.lists(values, min_size=1, max_size=4), share=st.floats(0, 1, exclude_max=True))
def test_a_list_that_is_cut_anywhere_is_told(
    tmp_path: Path, inside: list[object], share: float
) -> None:
    whole = json.dumps({"audios": inside})[:-1]
    path = written(tmp_path, whole[: int(share * len(whole))])
    with pytest.MonkeyPatch.context() as patch, pytest.raises(UserError) as told:
        patch.setattr(json_stream, "CHUNK", 7)
        list(members(path, "audios"))
    assert str(path) in str(told.value) and "download" in str(told.value)


def test_numbers_and_words_may_be_cut_between_two_readings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = [123456.75, True, None, -1e-7, "é\n\\u00e9", 20]
    path = written(tmp_path, {"a": content})
    for chunk in range(1, 30):
        monkeypatch.setattr(json_stream, "CHUNK", chunk)
        assert list(members(path, "a")) == content


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "has no list 'audios'; download it again"),
        ("[]", "has no list 'audios'"),
        ("{}", "has no list 'audios'"),
        ('{"a": [1]}', "has no list 'audios'"),
        ('{"audios": {"a": 1}}', "has no list 'audios'"),
        ('{"audios" [1]}', r"character 11 is not JSON \(':' is missing\); download"),
        ('{"a": 1 "audios": []}', r"character 9 is not JSON \(',' or '}' is missing\)"),
        ('{"audios": [1 2]}', r"character 15 is not JSON \(',' or '\]' is missing\)"),
        ('{"audios": [1, nope, ' + "1, " * 20, r"character 16 is not JSON \(Expecting value\)"),
        ('{"audios": [1', r"character 14 is not JSON \(',' or '\]' is missing\)"),
        ('{"audios": ["a', r"character 13 is not JSON \(Unterminated string"),
        ('{"audios": [' + "[" * 100_000, "is nested too deeply|is not JSON"),
    ],
)
def test_damage_is_told_in_one_line(tmp_path: Path, content: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as told:
        list(members(written(tmp_path, content), "audios"))
    assert "\n" not in str(told.value)


def test_damage_is_told_where_it_is_though_what_came_before_is_forgotten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(json_stream, "CHUNK", 64)
    head = '{"audios": [' + '{"path": "a"}, ' * 40
    path = written(tmp_path, head + '{"path" "b"}, ' + '{"path": "a"}, ' * 40)
    with pytest.raises(UserError, match=rf"character {len(head) + 9} is not JSON"):
        list(members(path, "audios"))


def test_damage_ends_the_reading_before_the_rest_is_in_memory(tmp_path: Path) -> None:
    path = written(tmp_path, '{"audios": [{"path" "b"}, ' + '{"path": "a"}, ' * 500_000)
    tracemalloc.start()
    with pytest.raises(UserError, match="character 21 is not JSON"):
        list(members(path, "audios"))
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 4 * json_stream.CHUNK < path.stat().st_size


def test_a_list_of_any_length_is_read_in_the_memory_of_a_few_members(tmp_path: Path) -> None:
    segment = {"sid": "", "begin_time": 0.5, "end_time": 2, "text_tn": "A", "subsets": ["{XL}"]}
    segments = [{**segment, "sid": f"S{n}", "title": "x" * 2000} for n in range(10)]
    path = tmp_path / "GigaSpeech.json"
    with path.open("w") as file:
        file.write('{"dataset": "GigaSpeech", "audios": [')
        for number in range(600):
            recording = {"path": f"audio/{number}.opus", "segments": segments}
            file.write(("," if number else "") + json.dumps(recording))
        file.write("]}")
    tracemalloc.start()
    assert sum(1 for _ in gigaspeech.read(tmp_path, "", "xl")) == 6000
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 6 * json_stream.CHUNK < path.stat().st_size / 2
