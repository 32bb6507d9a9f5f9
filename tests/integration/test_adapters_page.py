"""The page on writing adapters: its package installs, its adapter keeps the contract, and one that does not is caught."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
import yaml
from pydantic import TypeAdapter

from monitor.config.servers import AnyServer
from monitor.servers.factory import build_server
from tests.fakes.checkout import ROOT
from tests.fakes.server_plugins import installed, write_package

pytestmark = pytest.mark.real_server


def files() -> dict[str, str]:
    """The files on the page, by name."""
    page = (ROOT / "docs" / "adapters.md").read_text(encoding="utf-8")
    found = dict(re.findall(r"^`([\w.]+)`:\n\n```\w+\n(.*?)```", page, re.DOTALL | re.MULTILINE))
    (found["config.yaml"],) = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    return found


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """The page's package, installed, with its tests beside it."""
    page = files()
    project = tomllib.loads(page["pyproject.toml"])["project"]
    ((group, points),) = project["entry-points"].items()
    ((module, _),) = [value.split(":") for value in points.values()]
    lines = [f"[{group}]", *(f"{kind} = {value}" for kind, value in points.items()), ""]
    write_package(
        tmp_path,
        distribution=project["name"],
        module=module,
        source=page[f"{module}.py"],
        entry_points="\n".join(lines),
    )
    for name in ("conftest.py", "test_castle.py"):
        (tmp_path / name).write_text(page[name])
    return tmp_path


def run_contract(folder: Path, *choice: str) -> dict[str, str]:
    """Run the page's tests as a project of their own; return each one's outcome."""
    options = ["-p", "no:cacheprovider", "-p", "no:randomly", "-c", "/dev/null", "--rootdir", ".", "--junitxml=out.xml"]
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", *options, *choice, "."],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": f"{ROOT}"},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert ran.returncode in {0, 1}, ran.stdout + ran.stderr
    cases = ET.parse(folder / "out.xml").getroot().iter("testcase")
    return {case.attrib["name"]: case[0].tag if len(case) else "passed" for case in cases}


def test_its_entry_is_loaded_and_built_through_the_entry_point(package: Path) -> None:
    servers: TypeAdapter[list[AnyServer]] = TypeAdapter(list[AnyServer])
    with installed(package):
        (section,) = servers.validate_python(yaml.safe_load(files()["config.yaml"])["servers"])
        server = build_server(section, gate_url="")

    assert (section.kind, server.kind, server.name) == ("castle", "castle", "keep")
    assert type(server).__module__ == "castle_adapter"


def test_its_adapter_keeps_the_contract(package: Path) -> None:
    outcomes = run_contract(package)

    assert len(outcomes) >= 15
    assert set(outcomes.values()) == {"passed"}, outcomes


def test_an_adapter_that_cuts_whoever_has_the_name_now_does_not(package: Path) -> None:
    module = package / "castle_adapter.py"
    source = module.read_text()
    careless = source.replace('"session": meant[0].session', '"session": None').replace(
        "meant = await self._listed(ref, session)",
        "meant = [*await self._listed(ref, session), *await self._listed(ref, None)]",
    )
    assert careless.count("None)]") == 1
    module.write_text(careless)

    outcomes = run_contract(package, "-k", "earlier_session or second_cut")

    assert outcomes == {
        "test_a_cut_of_an_earlier_session_leaves_the_present_one_alone": "failure",
        "test_a_second_cut_finds_nothing_and_says_so": "passed",
    }
