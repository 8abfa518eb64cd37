"""The documentation is true: its code runs, its flags, links, hooks and commands exist."""

import inspect
import json
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import invalidate_caches
from importlib.util import find_spec
from pathlib import Path

import pytest

from asr_lab.cli import main
from asr_lab.plugins import CommandSpec, DatasetSpec, hooks, installed_plugins

ROOT = Path(__file__).parents[3]
DOCS = ROOT / "docs"
PAGES = sorted([ROOT / "README.md", *DOCS.rglob("*.md"), *ROOT.glob("packages/*/README.md")])
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]
MODELS = {"conformer", "ssm", "whisper"}
"""Models that come in distributions of their own, which may not be installed here."""
FENCE = re.compile(
    r"(?:<!-- (?P<mark>\w+)(?:: (?P<expected>.*?))? -->\n)?"
    r"^```(?P<language>\w+)(?: title=\"(?P<title>[^\"]+)\")?\n(?P<body>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
"""A block of code; a comment before it may mark it, a title names the file it is."""
MARKS = ("slow", "shown", "fails", "install")
"""`slow` runs in the slow tier, `shown` only has its flags checked, `fails` exits with status 2
and says what follows the mark, `install` installs the package that the page has written."""

pytestmark = pytest.mark.skipif(
    not (DOCS / "index.md").is_file(), reason="the documents are not beside this package"
)


@dataclass(frozen=True, kw_only=True)
class Block:
    """A block of code on a page."""

    language: str
    body: str
    title: str = ""
    mark: str = ""
    expected: str = ""

    @property
    def file(self) -> bool:
        """True if the block is a file that the reader writes."""
        return "." in Path(self.title).suffix and "/" in self.title or self.language == "yaml"

    def commands(self) -> list[list[str]]:
        """Return the words of every `asr-lab` command, without what starts it."""
        lines = self.body.replace("\\\n", " ").replace("&&", "\n").splitlines()
        words = [shlex.split(line) for line in lines if self.language == "sh"]
        starts = (["asr-lab"], ["uv", "run", "asr-lab"], ["torchrun", "--nproc-per-node"])
        found = []
        for line in words:
            start = next((start for start in starts if line[: len(start)] == start), None)
            if start is not None:
                place = "asr_lab.cli" if start[0] == "torchrun" else "asr-lab"
                found.append(line[line.index(place) + 1 :])
        return found


def blocks(page: Path) -> list[Block]:
    """Return the blocks of code of a page, in order."""
    found = []
    for match in FENCE.finditer(page.read_text(encoding="utf-8")):
        found.append(Block(**{name: value or "" for name, value in match.groupdict().items()}))
    return found


def needed_models(page: Path) -> set[str]:
    """Return the models that the code of a page uses, of those that may not be installed."""
    code = "\n".join(block.body for block in blocks(page) if block.language in ("python", "sh"))
    return set(re.findall(r"(?:asr_lab\.models\.|--model )(\w+)", code)) & MODELS


def missing_models(page: Path) -> set[str]:
    """Return those of them that are not installed."""
    return {name for name in needed_models(page) if find_spec(f"asr_lab.models.{name}") is None}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Work in an empty folder, with plugins that are found anew."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path / "site")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "site"))
    before = set(sys.modules)
    installed_plugins.cache_clear()
    yield tmp_path
    installed_plugins.cache_clear()
    for name in set(sys.modules) - before:
        if name.startswith("reed_asr"):
            del sys.modules[name]


def run_page(page: Path, *, slow: bool) -> None:
    """Do what the page says, in the folder that is the current one."""
    names: dict[str, object] = {"__name__": "page"}
    for block in blocks(page):
        if block.file:
            path = Path(block.title)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.body, encoding="utf-8")
        elif block.title or block.mark == "shown" or (block.mark == "slow" and not slow):
            continue
        elif block.mark == "install":
            (source,) = re.findall(r"^pip install (\S+)$", block.body, re.MULTILINE)
            install(Path(source).resolve(), Path("site"))
        elif block.language == "python":
            exec(compile(block.body, str(page), "exec"), names)
        for words in [] if block.file else block.commands():
            assert main(words) == (2 if block.mark == "fails" else 0), words


def install(source: Path, target: Path) -> None:
    """Build a package without a network and install it into `target`, with uv or pip."""
    uv = shutil.which("uv", path=str(Path(sys.executable).parent)) or shutil.which("uv")
    python = [uv, "pip"] if uv else [sys.executable, "-m", "pip"]
    options = ["--no-deps", "--no-build-isolation", "--quiet", "--target", str(target)]
    extra = ["--offline", "--python", sys.executable] if uv else ["--no-index"]
    command = [*python, "install", *options, *extra, str(source)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    invalidate_caches()
    installed_plugins.cache_clear()


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_the_code_of_a_page_runs(
    page: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if missing := missing_models(page):
        pytest.skip(f"uses models that are not installed: {', '.join(sorted(missing))}")
    run_page(page, slow=False)
    said = capsys.readouterr()
    for block in blocks(page):
        assert block.expected in said.out + said.err


@pytest.mark.slow
@pytest.mark.parametrize(
    "page",
    [page for page in PAGES if any(block.mark == "slow" for block in blocks(page))],
    ids=lambda page: page.stem,
)
def test_the_long_code_of_a_page_runs(page: Path, folder: Path) -> None:
    if missing := missing_models(page):
        pytest.skip(f"uses models that are not installed: {', '.join(sorted(missing))}")
    run_page(page, slow=True)


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_every_flag_of_a_page_exists(
    page: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if missing := missing_models(page):
        pytest.skip(f"uses models that are not installed: {', '.join(sorted(missing))}")
    for block in blocks(page):
        for command, *words in block.commands():
            used = {word.partition("=")[0] for word in words if word.startswith("--")}
            chosen = [word for flag in ("--model", "--config") for word in pair(words, flag)]
            known = installed_plugins().registry.all(CommandSpec)
            assert command.startswith("-") or command in {spec.name for _, spec in known}
            if used and block.mark != "fails" and not {"reed", "small.yaml"} & set(chosen):
                assert main([command, *chosen, "--help"]) == 0
                assert used <= set(re.findall(r"--[\w.-]+", capsys.readouterr().out)) | {"--help"}


def pair(words: list[str], flag: str) -> list[str]:
    """Return a flag and its value as they stand in a command line, or nothing."""
    return words[words.index(flag) :][:2] if flag in words else []


def test_every_mark_is_one_that_means_something() -> None:
    marks = {block.mark for page in PAGES for block in blocks(page)}
    assert marks - {""} == set(MARKS)
    fences = sum(page.read_text().count("\n```") for page in PAGES)
    others = sum(page.read_text().count("\n```console\n") for page in PAGES)
    read = sum(len(blocks(page)) for page in PAGES)
    assert fences == 2 * read and read > 40 and others <= 1


def test_every_link_to_a_file_leads_somewhere() -> None:
    for page in PAGES:
        text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
        for target in re.findall(r"\]\(([^)#]+)[^)]*\)", text):
            if "://" not in target:
                assert (page.parent / target).exists(), f"{page}: {target}"


def test_every_page_is_in_the_navigation() -> None:
    listed = re.findall(r"([\w/.-]+\.md)", (DOCS / "mkdocs.yml").read_text(encoding="utf-8"))
    assert sorted(listed) == sorted(str(page.relative_to(DOCS)) for page in DOCS.rglob("*.md"))


def test_every_reference_names_a_module_that_exists() -> None:
    for page in (DOCS / "reference").glob("*.md"):
        modules = re.findall(r"^::: ([a-z_.]+?)(?:\.[A-Z]\w+)?$", page.read_text(), re.MULTILINE)
        assert modules, page
        missing = [m for m in modules if m.split(".")[2] not in MODELS and not find_spec(m)]
        assert missing == []


def flat(text: str) -> str:
    """Return text with every stretch of white space as one space."""
    return " ".join(text.split())


def signature(hook: object) -> str:
    """Return the signature of a hook as it is written in a plugin."""
    assert inspect.isfunction(hook)
    return f"def {hook.__name__}{inspect.signature(hook)}".replace("'", "")


SPECIFIED = [hook for name, hook in vars(hooks).items() if name.startswith("asr_lab_")]


@pytest.mark.parametrize("hook", SPECIFIED, ids=lambda hook: str(hook.__name__))
def test_every_hook_stands_with_its_exact_signature_on_the_page_of_plugins(hook: object) -> None:
    page = flat((DOCS / "plugins.md").read_text(encoding="utf-8"))
    assert f"{signature(hook)}: ..." in page


def test_hooks_that_are_gone_do_not_stand_there() -> None:
    written = re.findall(r"^def (asr_lab_\w+)", (DOCS / "plugins.md").read_text(), re.MULTILINE)
    assert len(SPECIFIED) == 9
    assert set(written) == {hook.__name__ for hook in SPECIFIED}


def test_every_command_and_data_set_of_the_core_is_documented() -> None:
    registry = installed_plugins().registry
    readme, data = ((ROOT / "README.md").read_text(), (DOCS / "own-data.md").read_text())
    for owner, command in registry.all(CommandSpec):
        assert owner != "core" or f"asr-lab {command.name}" in readme
    for owner, dataset in registry.all(DatasetSpec):
        assert owner != "core" or f"`{dataset.name}" in data


def test_the_readme_is_short_and_has_both_commands() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) < 150
    lines = text.splitlines()
    assert "pip install uv && uv run asr-lab train --model conformer --config tiny" in lines
    assert "uv run pytest" in lines


def test_results_say_how_they_were_made() -> None:
    for path in (DOCS / "results").glob("*.json"):
        content = json.loads(path.read_text(encoding="utf-8"))
        assert {"command", "machine"} <= set(content), path


def test_blocks_are_found_with_their_marks_titles_and_commands(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    shell = "<!-- slow -->\n```sh\nx && uv run asr-lab train \\\n  --model a\n```\n"
    page.write_text(shell + '\n```toml title="a/b.toml"\n```\n')
    first, second = blocks(page)
    assert (first.mark, first.commands()) == ("slow", [["train", "--model", "a"]])
    assert (second.file, second.title, second.commands()) == (True, "a/b.toml", [])
    run = Block(language="sh", body="torchrun --nproc-per-node 2 -m asr_lab.cli train --x\n")
    assert run.commands() == [["train", "--x"]]
    assert not Block(language="python", body="", title="asr_lab.plugins.hooks").file
