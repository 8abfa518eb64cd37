"""The command as a whole: exit status, one-line errors, version, pipes."""

import errno
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from textwrap import dedent

import pytest

from asr_lab.cli import main
from asr_lab.plugins import installed_plugins

Install = Callable[[str], None]


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Return a function that installs a plugin with the command `act`, whose body it takes."""

    def install(body: str) -> None:
        source = f"""
            import errno
            from asr_lab.plugins import CommandSpec, hookimpl
            from asr_lab.utils.errors import CombinedUserError, UserError

            def run(argv):
                {body}

            @hookimpl
            def asr_lab_register(registry):
                registry.add(CommandSpec(name="act", summary="do it", run="acting_plugin:run"))
                registry.add(CommandSpec(name="lost", summary="", run="acting_plugin:nothing"))
        """
        (tmp_path / "acting_plugin.py").write_text(dedent(source))
        info = tmp_path / "acting-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acting\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text("[asr_lab]\nacting = acting_plugin\n")
        monkeypatch.syspath_prepend(tmp_path)
        installed_plugins.cache_clear()

    yield install
    sys.modules.pop("acting_plugin", None)
    installed_plugins.cache_clear()


def errors(capsys: pytest.CaptureFixture[str]) -> str:
    printed = capsys.readouterr()
    assert printed.out == ""
    return printed.err


def test_a_command_of_a_plugin_gets_the_words_and_gives_the_status(command: Install) -> None:
    command("return len(argv)")
    assert main(["act", "a", "--b", "c"]) == 3
    assert main(["acting/act"]) == 0


def test_a_mistake_is_one_line_and_status_2(
    command: Install, capsys: pytest.CaptureFixture[str]
) -> None:
    command("raise UserError('no model\\n  of that name')")
    assert main(["act"]) == 2
    assert errors(capsys) == "asr-lab: no model of that name\n"


def test_several_mistakes_are_counted_and_listed(
    command: Install, capsys: pytest.CaptureFixture[str]
) -> None:
    command("raise CombinedUserError(['--a: wrong', '--b: wrong too'])")
    assert main(["act"]) == 2
    assert errors(capsys) == "asr-lab: 2 problems\n  --a: wrong\n  --b: wrong too\n"


@pytest.mark.parametrize("code", ["ENOSPC", "EROFS", "EACCES", "EDQUOT", "EPERM", "ENOTDIR"])
def test_a_refusal_of_the_operating_system_is_one_line(
    code: str, command: Install, capsys: pytest.CaptureFixture[str]
) -> None:
    command(f"raise OSError(errno.{code}, 'x', 'outputs/best.pt')")
    assert main(["act"]) == 2
    line = errors(capsys)
    reason = os.strerror(getattr(errno, code)).lower()
    assert line.startswith(f"asr-lab: outputs/best.pt: {reason}; ") and line.count("\n") == 1


def test_our_own_mistakes_keep_their_traceback(command: Install) -> None:
    command("raise RuntimeError('a bug') if argv else OSError(errno.EBADF, 'a bug')")
    with pytest.raises(RuntimeError, match="a bug"):
        main(["act", "x"])
    with pytest.raises(OSError, match="a bug"):
        main(["act"])


def test_an_interrupt_is_status_130(command: Install, capsys: pytest.CaptureFixture[str]) -> None:
    command("raise KeyboardInterrupt")
    assert main(["act"]) == 130
    assert errors(capsys) == "asr-lab: interrupted\n"


def test_a_command_that_cannot_be_imported_is_told_in_one_line(
    command: Install, capsys: pytest.CaptureFixture[str]
) -> None:
    command("return 0")
    assert main(["lost"]) == 2
    line = errors(capsys)
    assert line.startswith("asr-lab: command acting/lost cannot be loaded: AttributeError")


def test_commands_of_plugins_stand_in_the_help(
    command: Install, capsys: pytest.CaptureFixture[str]
) -> None:
    command("return 0")
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    assert "  act          do it\n" in text
    assert "  train        train a model\n" in text


def test_an_unknown_command_gets_a_suggestion(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tran"]) == 2
    line = "asr-lab: no command 'tran'; did you mean train? (asr-lab --help lists all)\n"
    assert errors(capsys) == line


def test_a_flag_before_the_command_is_a_mistake(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--model", "ssm"]) == 2
    assert errors(capsys) == "asr-lab: --model: a command comes first (asr-lab --help lists all)\n"


def test_no_command_prints_the_help_where_errors_go(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert errors(capsys).startswith("usage: asr-lab COMMAND")


def test_the_version_is_that_of_the_core(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"asr-lab {version('asr-lab-core')}\n"


def test_a_reader_that_leaves_early_is_no_error() -> None:
    code = "import sys; from asr_lab.cli import main; sys.exit(main(['--help']))"
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [sys.executable, "-c", code],
        stdout=write,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONUNBUFFERED": ""},
        check=False,
    )
    os.close(write)
    assert (done.returncode, done.stderr) == (141, b"")


def test_processes_that_fail_together_do_not_tear_each_others_lines() -> None:
    # torchrun starts Python with -u, so that every write reaches the pipe on its own.
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with ours, theirs:
        words = [sys.executable, "-u", "-m", "asr_lab.cli", "trian"]
        assert subprocess.run(words, stderr=theirs.fileno(), check=False).returncode == 2
        first = ours.recv(4096, socket.MSG_DONTWAIT)
        assert first.startswith(b"asr-lab: no command 'trian'")
        assert first.endswith(b"\n")


def test_arguments_come_from_the_process_unless_they_are_given(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["asr-lab", "--version"])
    assert main() == 0
    assert capsys.readouterr().out.startswith("asr-lab ")


def test_every_command_of_the_core_has_help(capsys: pytest.CaptureFixture[str]) -> None:
    from asr_lab.plugins import CommandSpec

    commands = installed_plugins().registry.all(CommandSpec)
    names = [spec.name for owner, spec in commands if owner == "core"]
    assert len(names) >= 8
    for name in names:
        assert main([name, "--help"]) == 0
        assert f"usage: asr-lab {name}" in capsys.readouterr().out
