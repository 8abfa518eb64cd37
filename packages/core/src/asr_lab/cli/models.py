"""`asr-lab models`: the models that can be trained."""

import json
from collections.abc import Sequence

from asr_lab.cli.options import ListingOptions, parse_options
from asr_lab.cli.tables import short_names, table
from asr_lab.plugins.loading import installed_plugins
from asr_lab.plugins.specs import ModelSpec


def run(argv: Sequence[str]) -> int:
    """Run the command."""
    summary = "List the models that installed plugins bring, with their presets."
    options = parse_options(ListingOptions, argv, "models", summary)
    if options is None:
        return 0
    plugins = installed_plugins()
    found = plugins.registry.all(ModelSpec)
    rows = [
        (name, plugins.distribution_of(owner)[0], " ".join(spec.presets), spec.summary)
        for name, (owner, spec) in zip(short_names(found), found, strict=True)
    ]
    if options.json:
        print(json.dumps([_plain(owner, spec) for owner, spec in found], indent=2))
    elif rows:
        print(table(rows, ("name", "plugin", "presets", "what")))
    else:
        print("no model is installed; try: pip install asr-lab-conformer")
    return 0


def _plain(owner: str, spec: ModelSpec) -> dict[str, object]:
    return {
        "name": spec.name,
        "qualified_name": f"{owner}/{spec.name}",
        "plugin": owner,
        "distribution": installed_plugins().distribution_of(owner)[0],
        "version": installed_plugins().distribution_of(owner)[1],
        "presets": list(spec.presets),
        "summary": spec.summary,
    }
