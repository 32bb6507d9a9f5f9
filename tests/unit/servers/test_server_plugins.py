"""Kinds of media servers from packages of somebody else's: configured, checked and built like the built-in ones."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import TypeAdapter, ValidationError

from monitor.config.loading import load_config
from monitor.config.server_secrets import secrets_within
from monitor.config.servers import BUILT_IN_SECTIONS, AnyServer
from monitor.errors import ConfigError
from monitor.servers.factory import BUILT_IN, build_server, capabilities_of
from tests.fakes.server_plugins import installed, write_package

ADAPTER = """
from typing import Literal

from monitor.config.fields import AnchoredPath, Duration, HttpAddress
from monitor.config.section import Section, ServerSection
from monitor.servers.registry import ServerKind
from tests.fakes.media_server import FakeServer


class Door(Section):
    number: int


class Section_(ServerSection):
    kind: Literal["castle"]
    api_url: HttpAddress
    patience: Duration = 5.0
    socket: AnchoredPath | None = None
    doors: tuple[Door, ...] = ()


def build(section, gate_url):
    return FakeServer(name=section.name, kind=section.kind)


KIND = ServerKind(Section_, build, {"api_url": "http://127.0.0.1:1/"})


class NoSection:
    section = "castle"


class NoBuilder:
    section = Section_
"""

_ANY: TypeAdapter[AnyServer] = TypeAdapter(AnyServer)
ENTRY = {"kind": "castle", "name": "edge", "api_url": "http://127.0.0.1:1/"}


def offering(folder: Path, *lines: str, distribution: str = "castle-adapter", module: str = "castle_adapter") -> None:
    points = "\n".join(("[livecordon.servers]", *lines, ""))
    write_package(folder, distribution=distribution, module=module, source=ADAPTER, entry_points=points)


@pytest.fixture
def castle(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "site-packages"
    folder.mkdir()
    offering(
        folder,
        "castle = castle_adapter:KIND",
        "moat = castle_adapter:KIND",
        "keep = castle_adapter:NoSection",
        "gone = no_such_module:KIND",
        "static = castle_adapter:KIND",
    )
    with installed(folder):
        yield folder


def mistakes(tmp_path: Path, entry: str) -> str:
    file = tmp_path / "config.yaml"
    file.write_text(f"servers:\n  - name: edge\n{entry}")
    with pytest.raises(ConfigError) as caught:
        load_config(file, {})
    return str(caught.value).replace(f"{file}:", "")


def test_the_registry_and_the_configuration_know_the_same_kinds() -> None:
    assert {kind: entry.section for kind, entry in BUILT_IN.items()} == BUILT_IN_SECTIONS


@pytest.mark.parametrize("kind", BUILT_IN)
def test_every_built_in_kind_can_be_built_from_its_example(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    section = _ANY.validate_python({"kind": kind, "name": "edge", **BUILT_IN[kind].example})
    for _, secret in secrets_within(section):
        assert secret.env is not None
        monkeypatch.setenv(secret.env, "made up for this test")

    server = build_server(section, gate_url="http://127.0.0.1:8930/gate/edge")

    assert (server.name, server.kind) == ("edge", kind)
    assert server.capabilities.cut, "the example is to use what the adapter can do"


def test_a_plugins_server_is_loaded_with_its_own_settings(castle: Path, tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(
        "servers:\n"
        "  - {kind: castle, name: edge, api_url: 'http://127.0.0.1:1/', patience: 2m, socket: a/b, dry_run: true}\n"
        "  - {kind: embedded, name: demo}\n"
    )

    edge, demo = load_config(file, {"LIVECORDON_SERVERS__0__PATIENCE": "3m"}).config.servers

    assert (edge.kind, edge.name, edge.dry_run, demo.kind) == ("castle", "edge", True, "embedded")
    assert edge.model_dump()["patience"] == 180
    assert edge.model_dump()["socket"] == tmp_path / "a" / "b"
    assert build_server(edge, gate_url="").kind == "castle"
    assert capabilities_of(edge).hold


def test_mistakes_in_a_plugins_entry_are_told_like_any_other(castle: Path, tmp_path: Path) -> None:
    said = mistakes(tmp_path, "    kind: castle\n    api_urk: x\n    patience: 5\n    doors:\n      - nunber: 1\n")

    assert "4: servers[0].api_urk: there is no such setting: did you mean api_url?" in said
    assert "servers[0].api_url: this is missing: add it" in said
    assert "5: servers[0].patience: this is no duration" in said
    assert "7: servers[0].doors[0].nunber: there is no such setting: did you mean number?" in said


def test_an_unknown_kind_names_those_that_exist(castle: Path, tmp_path: Path) -> None:
    assert "did you mean castle?" in mistakes(tmp_path, "    kind: catsle\n")
    said = mistakes(tmp_path, "    kind: zzz\n")
    assert "servers[0].kind: there is no such kind of server: use one of nginx_rtmp" in said
    assert "castle" in said
    assert said.count("static") == 1


def test_without_the_package_its_kind_is_unknown(tmp_path: Path) -> None:
    assert "there is no such kind of server" in mistakes(tmp_path, "    kind: castle\n")


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("gone", "the package castle-adapter, which adds it, cannot be imported (ModuleNotFoundError)"),
        ("keep", "the package castle-adapter offers no section for it"),
        ("moat", "the section of the package castle-adapter is for another kind"),
    ],
)
def test_a_package_that_cannot_be_used_is_named(castle: Path, tmp_path: Path, kind: str, words: str) -> None:
    assert words in mistakes(tmp_path, f"    kind: {kind}\n")
    assert "embedded" in str(_ANY.validate_python({"kind": "embedded", "name": "edge"}).kind)


def test_two_packages_with_one_kind_are_refused(castle: Path, tmp_path: Path) -> None:
    offering(castle, "castle = other:KIND", distribution="other-adapter", module="other")
    with installed(castle):
        said = mistakes(tmp_path, "    kind: castle\n")

    assert "several packages add this kind of server: remove all but one of castle-adapter and other-adapter" in said


def test_no_package_replaces_a_built_in_kind(castle: Path) -> None:
    with pytest.raises(ValidationError, match="streams"):
        _ANY.validate_python({"kind": "static", "name": "edge"})


def test_a_package_without_a_builder_is_refused_when_built(tmp_path: Path) -> None:
    offering(tmp_path, "castle = castle_adapter:NoBuilder")
    with installed(tmp_path):
        section = _ANY.validate_python(ENTRY)
        with pytest.raises(ConfigError, match="offers no way to build it"):
            build_server(section, gate_url="")
