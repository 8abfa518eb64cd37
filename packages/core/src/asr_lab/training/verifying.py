"""`asr-lab verify RUN`: whether the files of a run are what was written, without a GPU."""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from asr_lab.checkpoints import load, read_portable
from asr_lab.checkpoints.directory import steps
from asr_lab.checkpoints.errors import CheckpointError
from asr_lab.reproducibility.chain import Chain, different_tensors
from asr_lab.reproducibility.hash import file_digest, tensor_digests
from asr_lab.reproducibility.record import RunRecord
from asr_lab.training.run_folder import BEST, CHECKPOINTS

FILE = "file:"
"""What the names of files start with among the digests of a run record."""


@dataclass(frozen=True, kw_only=True)
class Check:
    """One thing that was looked at."""

    name: str
    ok: bool
    found: str
    """What there is, or what is wrong."""


def verify(folder: Path, *, as_json: bool = False) -> int:
    """Check a run and print every check; 1 if one failed.

    Raises UserError for a folder that holds no run, or one of a newer version, or whose record or
    chain cannot be read.
    """
    record, chain = RunRecord.read(folder), Chain.read(folder)
    checks = [
        Check(name="run.json", ok=True, found=f"{record.run_id}, {record.status}"),
        _chain(record, chain),
        *_checkpoints(folder, chain),
        *_files(folder, record),
    ]
    if as_json:
        print(json.dumps([asdict(check) for check in checks]))
    else:
        width = max(len(check.name) for check in checks)
        for check in checks:
            print(f"{'ok ' if check.ok else 'BAD'}  {check.name.ljust(width)}  {check.found}")
    return int(not all(check.ok for check in checks))


def _chain(record: RunRecord, chain: Chain) -> Check:
    """Check that the head that the record knows is one of the chain's, and at the end the last."""
    head = record.digests.get("chain", "")
    heads = ["", *(entry.head for entry in chain.entries)]
    known = head == heads[-1] if record.status == "finished" else head in heads
    count = f"{len(chain.entries)} {'entry' if len(chain.entries) == 1 else 'entries'}"
    found = f"{count} to step {chain.step:,}, head {chain.head[:12]}"
    if chain.torn:
        found += "; the last line is torn, as a crash leaves it"
    if not known:
        found = f"run.json knows the head {head[:12]}, which is not the last one here"
    return Check(name="chain.jsonl", ok=known, found=found)


def _checkpoints(folder: Path, chain: Chain) -> Iterator[Check]:
    for step, path in steps(folder / CHECKPOINTS):
        try:
            checkpoint = load(path)
        except CheckpointError as error:
            yield Check(name=path.name, ok=False, found=str(error))
            continue
        found, saved = "files intact", chain.saves.get(step)
        different: list[str] = []
        if saved is not None:
            groups = {name: tensor_digests(named) for name, named in checkpoint.tensors.items()}
            different = different_tensors(saved.tensors, groups)
            found = "files intact, every tensor as the chain says"
        if different:
            found = f"{different[0]} is not what the chain says of step {step:,}"
        yield Check(name=path.name, ok=not different, found=found)


def _files(folder: Path, record: RunRecord) -> Iterator[Check]:
    """Check the files that the record of a finished run lists."""
    for name, digest in sorted(record.digests.items()):
        if name.startswith(FILE):
            yield _file(folder / name.removeprefix(FILE), digest)
    listed = f"{FILE}{BEST}" in record.digests
    if not listed and (folder / BEST).exists():
        try:
            read_portable(folder / BEST)
            yield Check(name=BEST, ok=True, found="every entry intact")
        except CheckpointError as error:
            yield Check(name=BEST, ok=False, found=str(error))


def _file(path: Path, digest: str) -> Check:
    try:
        same = file_digest(path) == digest
    except OSError as error:
        return Check(name=path.name, ok=False, found=f"cannot be read: {error.strerror}")
    found = "as it was written" if same else "its content has changed since the run finished"
    return Check(name=path.name, ok=same, found=found)
