from __future__ import annotations

from pathlib import Path

import pytest

from monitor.errors import ProtocolDefinitionError
from monitor.incidents.library import load_protocol, load_protocols
from monitor.shipped import protocols_dir

GOOD = """protocol: {name}
version: 1
summary: For tests.
initial: calm
states:
  calm:
    on: [{{detection: act, do: [preserve], to: done}}]
  done: {{final: true}}
"""


def write(directory: Path, name: str, text: str = GOOD) -> None:
    (directory / f"{name}.yaml").write_text(text.format(name=name))


def test_loads_every_protocol_of_a_folder_by_name(tmp_path: Path) -> None:
    write(tmp_path, "night")
    write(tmp_path, "day")
    (tmp_path / "README.md").write_text("not a protocol")

    assert list(load_protocols(tmp_path)) == ["day", "night"]


def test_the_shipped_folder_loads() -> None:
    assert set(load_protocols(protocols_dir())) == {"observe", "assisted", "immediate"}


def test_tells_the_problems_of_all_files_at_once(tmp_path: Path) -> None:
    write(tmp_path, "one", GOOD.replace("to: done", "to: don"))
    write(tmp_path, "two", GOOD.replace("version: 1", "version: new"))
    write(tmp_path, "three")

    with pytest.raises(ProtocolDefinitionError) as caught:
        load_protocols(tmp_path)

    assert [(Path(problem.file).name, problem.line) for problem in caught.value.problems] == [
        ("one.yaml", 7),
        ("two.yaml", 2),
    ]


def test_one_name_in_two_files_is_refused(tmp_path: Path) -> None:
    write(tmp_path, "same")
    (tmp_path / "same.yml").write_text(GOOD.format(name="same"))

    with pytest.raises(ProtocolDefinitionError, match="two protocols named 'same'"):
        load_protocols(tmp_path)


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ProtocolDefinitionError, match="holds no protocol"):
        load_protocols(tmp_path)


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ProtocolDefinitionError, match="cannot be read"):
        load_protocols(tmp_path / "nowhere")


def test_a_file_that_cannot_be_read_is_told_beside_the_others(tmp_path: Path) -> None:
    (tmp_path / "folder.yaml").mkdir()
    write(tmp_path, "bad", "protocol: bad")

    with pytest.raises(ProtocolDefinitionError) as caught:
        load_protocols(tmp_path)

    assert [Path(problem.file).name for problem in caught.value.problems] == ["folder.yaml", "bad.yaml"]


def test_one_protocol_by_name_or_by_file(tmp_path: Path) -> None:
    write(tmp_path, "night")

    assert load_protocol("night", tmp_path).name == "night"
    assert load_protocol(str(tmp_path / "night.yaml"), Path("nowhere")).name == "night"
    with pytest.raises(ProtocolDefinitionError, match="there are: night"):
        load_protocol("day", tmp_path)
