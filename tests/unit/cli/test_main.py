from __future__ import annotations

import subprocess
import sys
import types
from collections.abc import Callable

import click
import pytest

from monitor import __version__
from monitor.cli.main import COMMANDS, Lazy, cli, main
from monitor.errors import ConfigError, MediaServerUnreachable, Problem

CANARY = "c4n4ry"


@pytest.fixture
def add_command(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], object]], None]:
    """Give the group one more command, `probe`."""

    def add(body: Callable[[], object]) -> None:
        probe = types.ModuleType("probe_of_the_tests")
        probe.__spec__ = types.SimpleNamespace()  # type: ignore[assignment] # find_spec only asks whether it is there
        probe.command = click.command("probe")(body)  # type: ignore[attr-defined] # a module made here
        monkeypatch.setitem(sys.modules, probe.__name__, probe)
        monkeypatch.setitem(COMMANDS, "probe", Lazy(f"{probe.__name__}:command", "Probe."))

    return add


def test_help_and_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    shown = capsys.readouterr().out
    assert "Check configuration, protocols, model and media servers." in shown
    assert main(["--version"]) == 0
    assert __version__ in capsys.readouterr().out


def test_help_needs_no_heavy_import() -> None:
    code = (
        "import sys; from monitor.cli.main import main; status = main(['--help']);"
        "heavy = {'pydantic', 'aiohttp', 'numpy', 'onnxruntime', 'sqlalchemy', 'av', 'cv2', 'structlog', 'rich'};"
        "print(sorted(heavy & set(sys.modules)), status, file=sys.stderr)"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert ended.stderr.strip() == "[] 0"


def test_summaries_are_the_commands_own_words() -> None:
    context = click.Context(cli)
    for name in cli.list_commands(context):
        command = cli.get_command(context, name)
        assert command is not None
        assert command.name == name
        assert (command.help or "").partition("\n")[0].rstrip(".") == COMMANDS[name].summary.rstrip(".")


def test_a_command_whose_module_is_missing_breaks_no_other(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(COMMANDS, "later", Lazy("monitor.cli.not_written_yet:later", "Later."))
    assert main(["--help"]) == 0
    assert "later" not in capsys.readouterr().out
    assert main(["later"]) == 2
    assert "No such command 'later'" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["chek"], ["check", "--nonsense"], ["check", "surplus"]])
def test_a_wrong_command_line_ends_with_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    assert "Error" in capsys.readouterr().err


def test_problems_are_one_line_each_and_end_with_2(
    add_command: Callable[[Callable[[], object]], None], capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> None:
        raise ConfigError([Problem("f", "a.b", "what", "mend", 3), Problem("f", "", "else", "")])

    add_command(fail)
    assert main(["probe"]) == 2
    assert capsys.readouterr() == ("", "f:3: a.b: what: mend\nf: else\n")


def test_our_own_errors_are_one_line_without_secrets(
    add_command: Callable[[Callable[[], object]], None], capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> None:
        raise MediaServerUnreachable(f"no answer from http://me:{CANARY}@127.0.0.1/stat")

    add_command(fail)
    assert main(["probe"]) == 1
    assert capsys.readouterr().err == "livecordon: no answer from http://127.0.0.1/…\n"


def test_a_traceback_shows_no_secret(
    add_command: Callable[[Callable[[], object]], None], capsys: pytest.CaptureFixture[str]
) -> None:
    secret = "rtmp://me:" + CANARY + "@h/live"

    def fail() -> None:
        raise RuntimeError(secret)

    add_command(fail)
    assert main(["probe"]) == 1
    shown = capsys.readouterr().err
    assert CANARY not in shown
    assert "RuntimeError: rtmp://h/…" in shown


def test_interruption_ends_with_130(add_command: Callable[[Callable[[], object]], None]) -> None:
    def fail() -> None:
        raise KeyboardInterrupt

    add_command(fail)
    assert main(["probe"]) == 130


@pytest.mark.parametrize(("returned", "status"), [(None, 0), (0, 0), (3, 3), ("text", 0)])
def test_a_command_returns_its_status(
    add_command: Callable[[Callable[[], object]], None], returned: object, status: int
) -> None:
    add_command(lambda: returned)
    assert main(["probe"]) == status


def test_a_reader_that_has_enough_gets_no_traceback() -> None:
    code = "import sys; from monitor.cli.main import main; sys.exit(main(['config-schema']))"
    with subprocess.Popen(
        [sys.executable, "-c", f"import time; {code}"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.wait(60) in (0, 1)
        assert process.stderr.read() == ""


def test_main_takes_the_process_arguments(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["livecordon", "--version"])
    assert main() == 0
    assert "livecordon" in capsys.readouterr().out
