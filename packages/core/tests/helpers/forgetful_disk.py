"""A disk that forgets, at a power cut, what was not flushed; and what a process asks of a disk.

SIGKILL does not test this: what a process wrote stays with the system. Here everything that a save
asks of the system is logged, and replayed on a disk that forgets: of every change of a name that no
`fsync` of the folder followed, and of every content that no `fsync` of the file followed.
"""

import pickle
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from asr_lab.testing.forks import forked
from asr_lab.utils.files import EVENT, PARTIAL

Operation = tuple[str, str, str | bytes]
"""What was asked, the path below the watched folder, and the content or the new name."""
RETURNED: Operation = ("returned", "", "")
CONTENTS = ("kept", "lost", "zeroed", "torn")
"""What a power cut makes of content that was not synced."""


# What is asked of the system


def logged(folder: Path, work: Callable[[Callable[[], None]], None]) -> list[Operation]:
    """Run `work` in a fork and return what it asked for; it calls its argument when it is safe."""
    file = folder.parent / "log.pickle"

    def watched() -> None:
        log: list[Operation] = []

        def note(kind: str, path: object, more: str | bytes = "") -> None:
            if Path(str(path)).is_relative_to(folder):
                log.append((kind, str(Path(str(path)).relative_to(folder)), more))

        def hook(event: str, arguments: tuple[object, ...]) -> None:
            if event == "os.mkdir":
                note("mkdir", arguments[0])
            elif event == "os.rename":
                note("rename", arguments[0], str(Path(str(arguments[1])).relative_to(folder)))
            elif event == EVENT:
                point, path = map(str, arguments)
                if point in ("after write", "after append"):
                    note("write", path, Path(path).read_bytes())
                elif point == "before link":
                    named = Path(path).name.removeprefix(PARTIAL).rpartition("-")[0]
                    note("link", path, str(Path(path).with_name(named).relative_to(folder)))
                elif point in ("before fsync", "before fsync folder", "before remove"):
                    note(point.removeprefix("before "), path)

        sys.addaudithook(hook)
        work(lambda: log.append(RETURNED))
        file.write_bytes(pickle.dumps(log))

    assert forked(watched).status == 0
    found: list[Operation] = pickle.loads(file.read_bytes())
    return found


# A disk that forgets


@dataclass(eq=False)
class Node:
    """A file with what was written and what is safe, or a folder with the names that are safe."""

    written: bytes = b""
    safe: bytes = b""
    names: "dict[str, Node] | None" = None


Change = list[tuple[Node, str, Node | None]]
"""Names that are set or taken away together, by folder."""


@dataclass
class Disk:
    """A folder as programs see it, and what of it is safe."""

    root: Node
    seen: dict[str, Node] = field(default_factory=dict)
    """By path, as programs see it."""
    pending: list[Change] = field(default_factory=list)

    @classmethod
    def of(cls, folder: Path) -> "Disk":
        """Take a folder as it is; all of it is safe."""
        disk = cls(Node(names={}))
        disk.seen["."] = disk.root
        for path in sorted(folder.rglob("*")):
            content = b"" if path.is_dir() else path.read_bytes()
            node = Node(content, content, {} if path.is_dir() else None)
            name = str(path.relative_to(folder))
            disk.seen[name] = node
            disk._apply([(disk._parent(name), path.name, node)])
        return disk

    def _parent(self, path: str) -> Node:
        return self.seen[str(Path(path).parent)]

    @staticmethod
    def _apply(change: Change) -> None:
        for folder, name, node in change:
            assert folder.names is not None
            if node is None:
                folder.names.pop(name, None)
            else:
                folder.names[name] = node

    def do(self, operation: Operation) -> None:
        """Do what was asked."""
        kind, path, more = operation
        name = Path(path).name
        if kind == "mkdir":
            # Asked in vain where its parent is still to be made, or it is there.
            if path not in self.seen and str(Path(path).parent) in self.seen:
                self._new(path, Node(names={}))
        elif kind == "write":
            assert isinstance(more, bytes)
            if path not in self.seen:
                self._new(path, Node())
            self.seen[path].written = more
        elif kind == "fsync":
            self.seen[path].safe = self.seen[path].written
        elif kind == "fsync folder":
            self._sync(self.seen[path])
        elif kind == "remove":
            self._remove(path)
        elif kind == "link":
            self._new(str(more), self.seen[path])
        elif kind == "rename":
            target = str(more)
            node = self.seen[path]
            change: Change = [(self._parent(path), name, None)]
            self.pending.append([*change, (self._parent(target), Path(target).name, node)])
            moved = {p: n for p, n in self.seen.items() if p == path or p.startswith(f"{path}/")}
            for old in moved:
                del self.seen[old]
            self.seen |= {target + old.removeprefix(path): node for old, node in moved.items()}

    def _new(self, path: str, node: Node) -> None:
        self.seen[path] = node
        self.pending.append([(self._parent(path), Path(path).name, node)])

    def _remove(self, path: str) -> None:
        below = [p for p in self.seen if p == path or p.startswith(f"{path}/")]
        for one in sorted(below, key=len, reverse=True):
            self.pending.append([(self._parent(one), Path(one).name, None)])
        for one in below:
            del self.seen[one]

    def _sync(self, folder: Node) -> None:
        left = []
        for change in self.pending:
            if any(one is folder for one, _, _ in change):
                self._apply(change)
            else:
                left.append(change)
        self.pending = left

    def images(self, target: Path) -> Iterator[Path]:
        """Write what the disk may hold after a power cut, one possibility after the other.

        Of the changes that are not safe, none, all, one alone or all but one have happened.
        """
        every = list(range(len(self.pending)))
        chosen = {tuple(every), (), *((one,) for one in every)}
        chosen |= {tuple(other for other in every if other != one) for one in every}
        seen = set()
        for number, persisted in enumerate(sorted(chosen)):
            names = {id(node): dict(node.names or {}) for node in self._folders()}
            for one in persisted:
                for folder, name, node in self.pending[one]:
                    names[id(folder)].pop(name, None)
                    if node is not None:
                        names[id(folder)][name] = node
            for content in CONTENTS:
                image = tuple(sorted(_files(self.root, names, content)))
                if image not in seen:
                    seen.add(image)
                    yield _written(target / f"{number}-{content}", image)

    def _folders(self) -> Iterator[Node]:
        """Yield every folder that is safe, or that a change that is not safe would make or fill."""
        found = [self.root]
        for change in self.pending:
            found += [node for part in change for node in (part[0], part[2]) if node is not None]
        done: set[int] = set()
        while found:
            node = found.pop()
            if node.names is not None and id(node) not in done:
                done.add(id(node))
                found += node.names.values()
                yield node


Image = tuple[tuple[str, bytes | None], ...]
"""Paths and contents, None for a folder."""


def _files(
    folder: Node, names: dict[int, dict[str, Node]], content: str, path: str = ""
) -> Iterator[tuple[str, bytes | None]]:
    for name, node in names[id(folder)].items():
        here = f"{path}/{name}" if path else name
        if node.names is not None:
            yield here, None
            yield from _files(node, names, content, here)
        elif node.safe == node.written or content == "kept":
            yield here, node.written
        elif content == "lost":
            yield here, node.safe
        else:  # what was appended to is as it was, up to there
            known = len(node.safe) if node.written.startswith(node.safe) else 0
            rest = node.written[known:]
            yield (
                here,
                node.written[:known]
                + (bytes(len(rest)) if content == "zeroed" else rest[: len(rest) // 2]),
            )


def _written(target: Path, image: Image) -> Path:
    target.mkdir(parents=True)
    for name, content in image:
        if content is None:
            (target / name).mkdir()
        else:
            (target / name).write_bytes(content)
    return target


Check = Callable[[Path, bool], str]
"""Says what is wrong with an image, if anything; with True, after the work was said to be safe."""


def first_loss(before: Disk, log: list[Operation], check: Check, target: Path) -> str:
    """Replay a log, cut the power after every operation, and return what is lost first."""
    safe = False
    for number, operation in enumerate(log):
        safe = safe or operation == RETURNED
        before.do(operation)
        for image in before.images(target / str(number)):
            if problem := check(image, safe):
                return f"after {operation[:2]}, {image.name}: {problem}"
    return ""
