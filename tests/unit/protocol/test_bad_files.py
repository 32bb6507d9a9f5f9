"""Every mistake that a protocol file can hold has a file in `bad/` that holds just that one."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from monitor.errors import Problem, ProtocolDefinitionError
from monitor.protocol import checks
from monitor.protocol.checks import Finding, harm, order, overlap, pace, people, shape
from monitor.protocol.definition import Definition
from monitor.protocol.graph import edges_of
from monitor.protocol.loading import load_definition
from monitor.protocol.parsing import parse_definition
from monitor.yaml_source import parse_yaml

BAD = sorted((Path(__file__).parent / "bad").glob("*.yaml"))
CHECKS = [
    check
    for module in (harm, order, overlap, pace, people, shape)
    for name, check in vars(module).items()
    if inspect.isgeneratorfunction(check) and check.__module__ == module.__name__ and not name.startswith("_")
]


@pytest.mark.parametrize("path", BAD, ids=lambda path: path.stem)
def test_is_refused_with_place_and_reason(path: Path) -> None:
    text = path.read_text()
    expected = [line.removeprefix("# expect: ") for line in text.splitlines() if line.startswith("# expect: ")]

    with pytest.raises(ProtocolDefinitionError) as caught:
        load_definition(text, "bad.yaml")

    assert [_without_mend(problem) for problem in caught.value.problems] == expected
    assert all(problem.mend for problem in caught.value.problems)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_every_check_has_a_file_that_only_it_refuses(check: Callable[..., Iterator[Finding]]) -> None:
    refused = [definition for definition in _readable() if list(_run(check, definition))]

    assert any(set(checks.findings(definition)) <= set(_run(check, definition)) for definition in refused)


def _readable() -> Iterator[Definition]:
    for path in BAD:
        try:
            yield parse_definition(parse_yaml(path.read_text(), path.name, ProtocolDefinitionError))
        except ProtocolDefinitionError:
            continue


def _run(check: Callable[..., Iterator[Finding]], definition: Definition) -> Iterator[Finding]:
    wanted = inspect.signature(check).parameters
    if "edges" in wanted and list(shape.lost_names(definition)):
        return
    arguments = {"definition": definition, "edges": edges_of(definition) if "edges" in wanted else ()}
    yield from check(**{name: value for name, value in arguments.items() if name in wanted})


def _without_mend(problem: Problem) -> str:
    return str(Problem(problem.file, problem.where, problem.what, "", problem.line))
