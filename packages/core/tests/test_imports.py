"""What may import what, what stays light, and how long files and functions may be."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import pytest

PACKAGES = Path(__file__).parents[2]
"""The folder of all packages; other checkouts may hold the core alone."""
GROUPS = {
    "plugins": 1,
    "utils": 1,
    "config": 1,
    "models.base": 2,
    "audio": 2,
    "tokenizers": 2,
    "losses": 2,
    "precision": 2,
    "reproducibility": 2,
    "layers": 3,
    "decoding": 3,
    "data": 3,
    "checkpoints": 4,
    "evaluation": 5,
    "training": 6,
    "testing": 7,
    "cli": 8,
}
"""Rooms of the core: a room imports from rooms of an earlier group only."""
WITHIN = {
    ("plugins", "utils"),
    ("plugins", "config"),
    ("losses", "models.base"),
    ("audio", "reproducibility"),
}
"""Arrows inside a group that are allowed."""
TORCH_FREE_PACKAGES = ("asr_lab.plugins", "asr_lab.cli")
MOST_LINES, MOST_LINES_OF_A_FUNCTION = 400, 60


@cache
def sources() -> dict[str, ast.Module]:
    """Return the syntax tree of every module of the lab, by dotted name."""
    found = {}
    for path in sorted(PACKAGES.glob("*/src/asr_lab/**/*.py")):
        parts = path.relative_to(next(p for p in path.parents if p.name == "src")).parts
        name = ".".join(parts).removesuffix(".py").removesuffix(".__init__")
        found[name] = ast.parse(path.read_text(encoding="utf-8"), str(path))
    return found


def room(module: str) -> str:
    """Return the room of a module; torch-free settings of the core are a room of their own."""
    parts = module.split(".")
    name = ".".join(parts[1:3]) if parts[1] == "models" else parts[1]
    settings = parts[-1] in ("config", "settings", "options")
    return "config" if settings and name in GROUPS and name != "cli" else name


def imports(tree: ast.AST, module: str, *, run_time: bool = True) -> Iterator[str]:
    """Yield the modules of the lab that a tree imports, those for type checkers left out.

    With `run_time` false, only what is imported when the module itself is.
    """
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) in TYPES_ONLY:
            for branch in node.orelse:
                yield from imports(ast.Module([branch], []), module, run_time=run_time)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} has a relative import"
            names = (f"{node.module}.{alias.name}" for alias in node.names)
            yield from (name if name in sources() else str(node.module) for name in names)
        elif run_time or not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield from imports(node, module, run_time=run_time)


TYPES_ONLY = ("TYPE_CHECKING", "typing.TYPE_CHECKING")


def allowed(importer: str, imported: str) -> bool:
    """Return True if the arrow between two modules points the right way."""
    here, there = room(importer), room(imported)
    if here == there or (here, there) in WITHIN:
        return True
    if here == "config":
        return there in ("config", "utils")
    if here.startswith("models.") and here != "models.base":
        if ".interop" in importer:  # reads what others wrote, safely
            return GROUPS.get(there, 9) <= 4
        return GROUPS.get(there, 9) <= 3
    return GROUPS.get(there, 9) < GROUPS[here]


def wrong_arrows(modules: dict[str, ast.Module]) -> list[str]:
    return [
        f"{importer} imports {imported}"
        for importer, tree in modules.items()
        for imported in imports(tree, importer)
        if imported.startswith("asr_lab.") and not allowed(importer, imported)
    ]


def test_every_room_imports_from_earlier_groups_only() -> None:
    assert wrong_arrows(sources()) == []


@pytest.mark.parametrize(
    ("importer", "code"),
    [
        ("asr_lab.plugins.loading", "from asr_lab.data.names import parse"),
        ("asr_lab.utils.errors", "from asr_lab.plugins import Registry"),
        ("asr_lab.audio.files", "def f():\n    import asr_lab.data"),
        ("asr_lab.tokenizers.base", "from asr_lab.losses.ctc import ctc_loss"),
        ("asr_lab.training.config", "from asr_lab.precision import support"),
        ("asr_lab.models.ssm.model", "from asr_lab.models.whisper.model import x"),
        ("asr_lab.models.ssm.model", "from asr_lab.checkpoints.directory import save"),
        ("asr_lab.models.ssm.interop", "from asr_lab.training.run import train"),
        (
            "asr_lab.models.base.model",
            "if TYPE_CHECKING:\n    pass\nelse:\n    import asr_lab.data",
        ),
    ],
)
def test_an_arrow_the_wrong_way_is_found(importer: str, code: str) -> None:
    assert len(wrong_arrows({importer: ast.parse(code)})) == 1


def test_imports_for_type_checkers_are_no_arrows() -> None:
    code = "if TYPE_CHECKING:\n    from asr_lab.cli import main"
    assert wrong_arrows({"asr_lab.utils.errors": ast.parse(code)}) == []


def test_every_room_has_a_group() -> None:
    rooms = {room(name) for name in sources()}
    models = {name for name in rooms if name.startswith("models.")} - {"models.base"}
    assert rooms - models <= set(GROUPS)


def cycles(arrows: dict[str, set[str]]) -> list[str]:
    """Return what is left after everything that imports nothing left is taken away."""
    left = {name: set(targets) for name, targets in arrows.items()}
    while free := [name for name, targets in left.items() if not targets & set(left) - {name}]:
        for name in free:
            del left[name]
    return sorted(left)


def test_no_modules_import_each_other_in_a_circle() -> None:
    arrows = {
        name: {target for target in imports(tree, name, run_time=False) if target in sources()}
        for name, tree in sources().items()
    }
    assert cycles(arrows) == []
    assert cycles({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}) == ["a", "b", "c", "d"]


def test_files_and_functions_stay_short() -> None:
    for name, tree in sources().items():
        lines = max((getattr(node, "end_lineno", 0) for node in tree.body), default=0)
        assert lines <= MOST_LINES, f"{name} has {lines} lines"
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or 0) - node.lineno + 1
                assert lines <= MOST_LINES_OF_A_FUNCTION, f"{name}.{node.name} has {lines} lines"


def test_every_module_says_what_it_is_for() -> None:
    assert [name for name, tree in sources().items() if not ast.get_docstring(tree)] == []


def test_the_namespaces_and_the_tests_have_no_init_file() -> None:
    forbidden = [
        path
        for pattern in ("*/src/asr_lab", "*/src/asr_lab/models", "*/tests")
        for path in PACKAGES.glob(f"{pattern}/__init__.py")
    ]
    assert forbidden == []


def test_every_regular_package_says_that_it_is_typed() -> None:
    rooms = [*PACKAGES.glob("*/src/asr_lab/*"), *PACKAGES.glob("*/src/asr_lab/models/*")]
    packages = [folder for folder in rooms if (folder / "__init__.py").exists()]
    assert packages
    assert [folder for folder in packages if not (folder / "py.typed").exists()] == []


def torch_free() -> list[str]:
    """Return the modules that must import without torch, of the distributions installed here."""
    light = []
    for name in sources():
        last = name.rpartition(".")[2]
        if name.startswith(TORCH_FREE_PACKAGES) or last in ("config", "plugin", "settings"):
            light.append(name)
    extra = ["asr_lab.data.utterance", "asr_lab.data.names", "asr_lab.evaluation.options"]
    bases = ["asr_lab.models.base", "asr_lab.models.base.options", "asr_lab.precision.modes"]
    chosen = [name for name in [*light, *extra, *bases] if not name.endswith("__main__")]
    return [name for name in chosen if is_installed(name)]


def is_installed(module: str) -> bool:
    """Return True if a module can be imported here; its package may not be installed."""
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:
        return False


def fresh(code: str) -> str:
    """Run code in a new process and return what it prints on standard error."""
    command = [sys.executable, "-X", "importtime", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stderr


def heavy(importtime: str) -> set[str]:
    names = {line.rpartition("|")[2].strip() for line in importtime.splitlines()}
    return names & {"torch", "numpy", "torchaudio", "rich", "yaml", "tyro"}


def test_light_modules_import_no_torch_and_no_numpy() -> None:
    code = "import importlib\nfor name in {}: importlib.import_module(name)"
    assert heavy(fresh(code.format(torch_free()))) == set()


@pytest.mark.parametrize(
    "words",
    ["--help", "models", "plugins", "datasets --json", "train --help", "evaluate --help", "nope"],
)
def test_listings_and_help_start_without_torch_and_numpy(words: str) -> None:
    code = f"from asr_lab.cli import main; main({words.split()!r})"
    assert heavy(fresh(code)) == set()


def test_a_mistake_is_found_without_torch() -> None:
    words = "train --model no_such --train.lr 1e --data spokn".split()
    assert heavy(fresh(f"from asr_lab.cli import main; assert main({words!r}) == 2")) == set()


def test_the_measure_sees_a_heavy_import() -> None:
    assert heavy(fresh("import yaml")) == {"yaml"}
