"""`asr-lab plugins`: installed plugins, their state, and why one failed."""

import json
from collections.abc import Sequence
from dataclasses import asdict

from asr_lab.cli.options import ListingOptions, parse_options
from asr_lab.cli.tables import table
from asr_lab.plugins.loading import PluginStatus, installed_plugins


def run(argv: Sequence[str]) -> int:
    """Run the command; 1 if a plugin failed."""
    summary = "Show installed plugins: version, state, what they add, why one failed."
    options = parse_options(ListingOptions, argv, "plugins", summary)
    if options is None:
        return 0
    plugins = installed_plugins()
    if options.json:
        print(json.dumps([asdict(status) for status in plugins.status], indent=2))
    else:
        print(table([_row(status) for status in plugins.status]))
    return 1 if plugins.failed else 0


def _row(status: PluginStatus) -> tuple[str, ...]:
    loaded = status.state == "loaded"
    return (
        status.name,
        f"{status.distribution} {status.version}",
        status.state,
        f"{1000 * status.seconds:.0f} ms".rjust(7) if loaded else "",
        _added(status) if loaded else status.reason,
    )


def _added(status: PluginStatus) -> str:
    """Return what a plugin added; many of one kind are counted."""
    kinds: dict[str, list[str]] = {}
    for thing in status.registered:
        kind, _, name = thing.rpartition(" ")
        kinds.setdefault(kind, []).append(name)
    parts = [
        f"{kind} {', '.join(names)}" if len(names) < 4 else f"{len(names)} {kind}s"
        for kind, names in kinds.items()
    ]
    if status.heavy_imports:
        parts.append(f"slow start: it imports {', '.join(status.heavy_imports)} when it is loaded")
    return "; ".join(parts) or "hooks only"
