"""What is built for others to install: complete, the same from an archive of the sources, and working where there is nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

from tests.fakes.checkout import ROOT, checked_in_files

ENOUGH_S = 100


def build(kind: str, source: Path, into: Path) -> Path:
    """Build a package without the network, with the build tools of this environment."""
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "--target", kind, "--directory", str(into)],
        cwd=source,
        check=True,
        capture_output=True,
        timeout=ENOUGH_S,
    )
    (built,) = into.iterdir()
    return built


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("wheel", ROOT, tmp_path_factory.mktemp("wheel"))


def contents(wheel: Path) -> dict[str, int]:
    """Return name and checksum of every file but those that tell of the package itself."""
    with zipfile.ZipFile(wheel) as opened:
        return {one.filename: one.CRC for one in opened.infolist() if ".dist-info/" not in one.filename}


def test_everything_that_runs_is_inside(wheel: Path) -> None:
    inside = {"monitor": "monitor", "models": "monitor/shipped/models", "protocols": "monitor/shipped/protocols"}
    wanted = {"monitor/shipped/config.yaml"}
    for path in checked_in_files():
        top, *rest = path.relative_to(ROOT).parts
        if top in inside and rest:
            wanted.add("/".join((inside[top], *rest)))
    assert set(contents(wheel)) == wanted
    # What would be missed first, whatever the checkout holds.
    assert {
        "monitor/shipped/models/violent-motion/model.onnx",
        "monitor/shipped/protocols/assisted.yaml",
        "monitor/web/static/livecordon.css",
        "monitor/web/templates/base.html",
        "monitor/store/migrations/env.py",
        "monitor/store/migrations/versions/v0001_begin.py",
        "monitor/py.typed",
    } <= wanted


def test_the_archive_of_the_sources_builds_the_same(wheel: Path, tmp_path: Path) -> None:
    archive = build("sdist", ROOT, tmp_path / "sdist")
    with tarfile.open(archive) as opened:
        opened.extractall(tmp_path, filter="data")
    (source,) = (path for path in tmp_path.iterdir() if path.name.startswith("livecordon-"))
    assert contents(build("wheel", source, tmp_path / "again")) == contents(wheel)


def test_it_runs_where_nothing_of_the_checkout_is(wheel: Path, tmp_path: Path) -> None:
    """Installed into an environment of its own, which borrows only the libraries that it depends on."""
    venv.create(tmp_path / "venv", symlinks=True)
    python = tmp_path / "venv" / "bin" / "python"
    packages = tmp_path / "venv" / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}" / "site-packages"
    # Its editable installation of Livecordon would lead back to the checkout: a copy of the folder without it.
    libraries = tmp_path / "libraries"
    libraries.mkdir()
    for installed in Path(sysconfig.get_path("purelib")).iterdir():
        if "livecordon" not in installed.name and installed.suffix != ".pth":
            (libraries / installed.name).symlink_to(installed)
    (packages / "borrowed.pth").write_text(f"{libraries}\n")
    installer = [sys.executable, "-m", "uv", "pip", "install", "--quiet", "--offline", "--no-deps", "--no-cache"]
    subprocess.run([*installer, "--python", str(python), str(wheel)], check=True, timeout=ENOUGH_S)

    def livecordon(*arguments: str) -> str:
        own = {name: value for name, value in os.environ.items() if not name.startswith(("LIVECORDON_", "PYTHON"))}
        ended = subprocess.run(
            [str(tmp_path / "venv" / "bin" / "livecordon"), *arguments],
            cwd=tmp_path,
            env=own | {"LIVECORDON_WEB__LISTEN": "127.0.0.1:0"},
            capture_output=True,
            text=True,
            timeout=ENOUGH_S,
            check=False,
        )
        assert ended.returncode == 0, ended.stderr
        return ended.stdout

    assert "Publish two live streams" in livecordon("demo", "--help")
    # Configuration, protocols and model are the shipped ones; the model's self-test runs.
    assert livecordon("check", "--no-probe") == "ok\n"
    assert livecordon("db", "migrate") == "ok\n"
    assert (tmp_path / "livecordon-data" / "livecordon.sqlite3").stat().st_size > 0
    where = subprocess.run(
        [str(python), "-I", "-c", "import monitor; print(monitor.__file__)"],
        cwd=tmp_path,
        capture_output=True,
        check=True,
    )
    assert Path(where.stdout.decode().strip()).is_relative_to(tmp_path)
