"""`asr-lab datasets`: the data sets that can be named after `--data` and `--dataset`."""

import json
from collections.abc import Sequence
from textwrap import shorten

from asr_lab.cli.options import ListingOptions, parse_options
from asr_lab.cli.tables import short_names, table
from asr_lab.data.corpora import CORPORA
from asr_lab.plugins.loading import installed_plugins
from asr_lab.plugins.specs import DatasetSpec

WIDEST = 32
"""Characters of a list in the table; `--json` has all."""


def run(argv: Sequence[str]) -> int:
    """Run the command."""
    summary = "List the data sets and manifest formats that can be read."
    options = parse_options(ListingOptions, argv, "datasets", summary)
    if options is None:
        return 0
    found = installed_plugins().registry.all(DatasetSpec)
    if options.json:
        print(json.dumps([_plain(owner, spec) for owner, spec in found], indent=2))
        return 0
    rows = [
        (name, _listed(spec.configs), _listed(spec.splits), _where(spec), spec.summary)
        for name, (_, spec) in zip(short_names(found), found, strict=True)
    ]
    print(table(rows, ("name", "configurations", "splits", "where", "what")))
    print("\nwritten NAME[/CONFIG][/SPLIT][:LOCATION], for example fleurs/en_us/test:FOLDER")
    print("corpora that are known on the hub, written hf/CONFIG/SPLIT:ORG/NAME:")
    print("\n".join(f"  {corpus.repository}" for corpus in CORPORA))
    return 0


def _listed(names: Sequence[str]) -> str:
    shown = {(): "-", ("*",): "any"}.get(tuple(names), " ".join(names))
    return shorten(shown, WIDEST, placeholder=" …")


def _where(spec: DatasetSpec) -> str:
    return "bundled" if spec.bundled else "LOCATION"


def _plain(owner: str, spec: DatasetSpec) -> dict[str, object]:
    return {
        "name": spec.name,
        "qualified_name": f"{owner}/{spec.name}",
        "plugin": owner,
        "configs": list(spec.configs),
        "splits": list(spec.splits),
        "bundled": spec.bundled,
        "location": spec.location,
        "summary": spec.summary,
    }
