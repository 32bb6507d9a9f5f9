"""What the README tells newcomers to do, done as written, in a copy of the repository."""

from __future__ import annotations

import asyncio
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest

from monitor.demo.nginx import find_nginx
from monitor.demo.stage import free_port
from tests.fakes.checkout import ROOT, copy_checkout
from tests.fakes.daemon import ffmpeg_copying
from tests.fakes.waiting import eventually

README = (ROOT / "README.md").read_text(encoding="utf-8")
LEFT_OUT = "…"


@dataclass(frozen=True, slots=True)
class Command:
    line: str
    shown: tuple[str, ...]


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)


def commands() -> dict[str, Command]:
    """Return every command of the README's ``console`` blocks, with the output that is shown below it."""
    found: dict[str, Command] = {}
    for block in blocks("console"):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            line, *shown = part.rstrip("\n").split("\n")
            assert line not in found, f"{line} stands twice in the README"
            found[line] = Command(line, tuple(shown))
    return found


MAKE_DEMO, MAKE_TEST, MAKE_HELP = "make demo", "make test", "make help"
WATCH = ".venv/bin/livecordon watch --protocol immediate recording.mp4"
PLOT = ".venv/bin/livecordon watch --plot scores.png recording.mp4"
CHECK = ".venv/bin/livecordon check"
CHECK_NGINX = ".venv/bin/livecordon check --config nginx.yaml"
RUN_NGINX = ".venv/bin/livecordon run --config nginx.yaml"


def environment(copy: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("LIVECORDON_", "MAKE", "MFLAGS"))}
    # The environment is installed in editable form and would lead to the original; wide enough for no line to break.
    return kept | {"PYTHONPATH": str(copy), "COLUMNS": "140", "LC_ALL": "C.UTF-8"}


def run(copy: Path, line: str, *, timeout_s: float = 90) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-c", line],
        cwd=copy,
        env=environment(copy),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )


def without_numbers(line: str) -> str:
    return re.sub(r"[0-9]+(?:[.:][0-9]+)*", "#", line).strip()


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The repository's files, beside an environment that is there already: nothing is installed anew."""
    target = copy_checkout(tmp_path_factory.mktemp("readme") / "livecordon")
    (target / ".venv").symlink_to(sys.prefix)
    (target / ".setup").mkdir()
    for stamp in ("run", "dev"):
        (target / ".setup" / stamp).touch()
    return target


def test_every_command_of_the_readme_is_run_here() -> None:
    assert set(commands()) == {MAKE_DEMO, MAKE_TEST, MAKE_HELP, WATCH, PLOT, CHECK, CHECK_NGINX, RUN_NGINX}


@pytest.mark.timeout(240)
def test_make_demo(copy: Path) -> None:
    done = run(copy, MAKE_DEMO, timeout_s=200)

    assert done.returncode == 0, done.stdout + done.stderr
    steps = [line[12:30].strip() for line in done.stdout.splitlines() if line[10:11] == "●"]
    shown = commands()[MAKE_DEMO].shown
    assert steps == [line[12:30].strip() for line in shown if line[10:11] == "●"]
    assert len(steps) == 11
    assert re.search(r"● partner told +signature verified; .*contained; state contained$", done.stdout, re.MULTILINE)
    assert re.search(r"● calm stream +still on air, untouched$", done.stdout, re.MULTILINE)
    # What the README shows is what is printed, apart from numbers and from what a detection's severity happens to be.
    printed = {_shape(line) for line in done.stdout.splitlines()}
    assert [line for line in shown if line != LEFT_OUT and _shape(line) not in printed] == []


def _shape(line: str) -> str:
    line = re.sub(r"severity (review|act)", "severity #", line)
    line = re.sub(r"until \S+", "until #", line)
    return without_numbers(re.sub(r"verified; .*; state", "verified; #; state", line))


def test_make_test_runs_the_whole_suite(copy: Path) -> None:
    # It cannot run inside itself, so this looks at what make would do.
    planned = run(copy, f"{MAKE_TEST.replace('make', 'make -n')}")

    assert planned.returncode == 0, planned.stderr
    packages, pytest_run = (shlex.split(line) for line in planned.stdout.splitlines())
    assert packages == ["bash", "deploy/install-test-packages.sh"]
    assert pytest_run[0] == ".venv/bin/pytest"
    narrowing = {"-k", "-m", "-x", "--deselect", "--ignore", "--maxfail", "--lf"}
    assert not narrowing & {word.partition("=")[0] for word in pytest_run}
    assert not [word for word in pytest_run if word.startswith("tests")]


def test_make_help_names_every_target_that_the_readme_names(copy: Path) -> None:
    done = run(copy, MAKE_HELP)

    assert done.returncode == 0
    listed = {line.split()[0] for line in done.stdout.splitlines()}
    assert {"help", "demo", "test"} <= listed
    assert set(re.findall(r"\bmake ([a-z]+)\b(?=`| DEMO_ARGS|\n)", README)) <= listed


def test_watch_shows_what_would_happen(copy: Path, brawl: Path) -> None:
    (copy / "recording.mp4").write_bytes(brawl.read_bytes())

    done = run(copy, WATCH)

    assert done.returncode == 0, done.stderr
    assert [without_numbers(line) for line in done.stdout.splitlines()] == [
        without_numbers(line) for line in commands()[WATCH].shown
    ]
    drawn = run(copy, PLOT)
    assert drawn.returncode == 0, drawn.stderr
    assert commands()[PLOT].shown[-1] in (drawn.stdout + drawn.stderr).splitlines()
    assert (copy / "scores.png").read_bytes().startswith(b"\x89PNG")


def test_the_example_configuration_is_usable(copy: Path) -> None:
    done = run(copy, CHECK)

    assert done.returncode == 0, done.stderr
    # Somebody may be listening on the example's ports while this runs; that is a warning and no mistake.
    assert done.stdout.startswith(commands()[CHECK].shown[0])


@asynccontextmanager
async def running(copy: Path, log: Path, *command: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run a command in `copy`; what it says goes into `log`."""
    with log.open("wb") as said:
        process = await asyncio.create_subprocess_exec(
            *command, cwd=copy, env=environment(copy), stdin=asyncio.subprocess.DEVNULL, stdout=said, stderr=said
        )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


@pytest.mark.real_server
@pytest.mark.timeout(180)
async def test_beside_a_real_nginx(copy: Path, tmp_path: Path, calm: Path) -> None:
    ports = {str(number): str(free_port()) for number in (1935, 8080, 8930)}

    def moved(text: str) -> str:
        """The same on free ports."""
        return re.sub(r"\b(1935|8080|8930)\b", lambda found: ports[found[0]], text)

    (nginx_text,), (yaml_text,) = blocks("nginx"), blocks("yaml")
    program, module = find_nginx()
    temporary = " ".join(
        f"{kind}_temp_path {tmp_path}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    # Debian's packages say these things elsewhere; the rest is the README's, untouched but for the ports.
    around = f"load_module {module}; daemon off; pid {tmp_path}/pid;"
    user = "user root;" if os.geteuid() == 0 else ""
    (tmp_path / "nginx.conf").write_text(
        f"{around} {user}\n" + moved(nginx_text).replace("http {", f"http {{ access_log off; {temporary}", 1)
    )
    (copy / "nginx.yaml").write_text(
        moved(yaml_text) + f"web: {{listen: '127.0.0.1:{ports['8930']}'}}\ndata_dir: {tmp_path}/data\n"
    )
    address = f"rtmp://127.0.0.1:{ports['1935']}/live"
    page = f"http://127.0.0.1:{ports['8930']}"
    async with (
        aiohttp.ClientSession(trust_env=False, timeout=aiohttp.ClientTimeout(total=5)) as session,
        running(
            copy,
            tmp_path / "nginx.log",
            *(str(program), "-p", str(tmp_path), "-e", f"{tmp_path}/error.log", "-c", f"{tmp_path}/nginx.conf"),
        ),
    ):

        async def text_at(url: str) -> str:
            try:
                async with session.get(url) as answer:
                    return await answer.text() if answer.status == 200 else ""
            except aiohttp.ClientError:
                return ""

        stat = f"http://127.0.0.1:{ports['8080']}/stat"
        await eventually(lambda: text_at(stat))

        checked = await asyncio.to_thread(run, copy, CHECK_NGINX)
        assert (checked.returncode, checked.stdout.splitlines()) == (0, list(commands()[CHECK_NGINX].shown))
        assert checked.stderr == ""

        log = tmp_path / "daemon.log"
        async with running(copy, log, *shlex.split(RUN_NGINX)) as daemon:

            async def says_where() -> bool:
                assert daemon.returncode is None, log.read_text()
                return moved(commands()[RUN_NGINX].shown[-1]) in log.read_text().splitlines()

            await eventually(says_where, deadline_s=60)
            async with ffmpeg_copying(calm, f"{address}/camera"):

                async def counted() -> bool:
                    metrics = await text_at(f"{page}/metrics")
                    return all(
                        re.search(rf"^{name} [1-9]", metrics, re.MULTILINE)
                        for name in (
                            "livecordon_clips_total",
                            "livecordon_clip_lag_seconds_count",
                            r"livecordon_gate_decisions_total\{decision=\"allow\"\}",
                        )
                    )

                await eventually(counted, deadline_s=40)
                assert '"dry_run":true' in (await text_at(f"{page}/api/v1/status")).replace(" ", "")
            daemon.send_signal(signal.SIGTERM)
            async with asyncio.timeout(20):
                assert await daemon.wait() == 0
            assert "camera" not in log.read_text()

        # While Livecordon is down, this nginx lets everybody publish.
        async with ffmpeg_copying(calm, f"{address}/later"):

            async def live() -> bool:
                return "<name>later</name>" in await text_at(stat)

            await eventually(live, deadline_s=20)
