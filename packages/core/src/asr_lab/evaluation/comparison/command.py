"""`asr-lab compare` behind its flags: read results, compare them, write the report."""

import json
import os
from pathlib import Path

from asr_lab.evaluation.comparison.comparison import compare, to_dict
from asr_lab.evaluation.comparison.options import CompareOptions
from asr_lab.evaluation.comparison.page import page
from asr_lab.evaluation.comparison.reading import System, read_systems
from asr_lab.evaluation.comparison.wording import lines, markdown
from asr_lab.utils.errors import UserError
from asr_lab.utils.files import is_taken, make_numbered, write_atomically, writing

PAGE, TABLE, NUMBERS = "compare.html", "compare.md", "compare.json"


def run_comparison(options: CompareOptions) -> int:
    """Compare, write page, table and numbers, print the table; return the exit status.

    Raises UserError, before anything is written.
    """
    systems = read_systems(options.results)
    refuse_taken(options)
    found = compare(systems, options)
    numbers = to_dict(found)
    files = {
        PAGE: page(found),
        TABLE: markdown(found),
        NUMBERS: json.dumps(numbers, indent=2, ensure_ascii=False) + "\n",
    }
    folder = place(options, systems)
    for name, content in files.items():
        write_atomically(folder / name, content.encode("utf-8", "backslashreplace"))
    if options.json:
        print(json.dumps(numbers))
        return 0
    print("\n".join([*lines(found), f"report {folder / PAGE}, {TABLE}, {NUMBERS}"]))
    return 0


def refuse_taken(options: CompareOptions) -> None:
    """Raise UserError if the folder that was asked for holds something else."""
    folder = Path(options.output)
    if not options.output or not is_taken(folder):
        return
    if not options.overwrite:
        raise UserError(f"{folder} exists; choose another --output or say --overwrite")
    if not (folder / NUMBERS).is_file():
        raise UserError(f"{folder} holds no comparison; choose another --output")


def place(options: CompareOptions, systems: list[System]) -> Path:
    """Return the folder to write to, made now: the one asked for, or a new one near the results."""
    if options.output:
        with writing(folder := Path(options.output)):
            folder.mkdir(parents=True, exist_ok=True)
        return folder
    above = os.path.commonpath([os.path.abspath(one.result.parent) for one in systems])
    if any(os.path.abspath(one.result.parent) == above for one in systems):
        above = os.path.dirname(above)
    near = os.path.relpath(above)
    return make_numbered(Path(above if near.startswith("..") else near), "compare")
