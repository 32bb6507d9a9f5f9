"""From the text of protocol files to definitions that may run."""

from __future__ import annotations

from collections.abc import Mapping

from monitor.errors import Problem, ProtocolDefinitionError
from monitor.protocol.checks import findings
from monitor.protocol.definition import Definition
from monitor.protocol.parsing import parse_definition
from monitor.yaml_source import parse_yaml


def load_definition(text: str | bytes, file: str) -> Definition:
    """Parse and check one protocol file.

    Args:
        text: Its content.
        file: Its name, as problems print it; without folder and suffix it is the protocol's name.

    Raises:
        ProtocolDefinitionError: with every problem that can be told at once: of the YAML, else of the words, else of
            what they mean.
    """
    document = parse_yaml(text, file, ProtocolDefinitionError)
    definition = parse_definition(document)
    problems = [document.problem(finding.path, finding.what, finding.mend) for finding in findings(definition)]
    expected = file.rpartition("/")[2].rpartition(".")[0]
    if definition.name != expected:
        what = f"the protocol is named {definition.name!r}, the file {expected!r}"
        problems.append(document.problem(("protocol",), what, "give both the same name"))
    if problems:
        raise ProtocolDefinitionError(sorted(problems, key=lambda problem: problem.line or 0))
    return definition


def load_definitions(texts: Mapping[str, str | bytes]) -> dict[str, Definition]:
    """Parse and check protocol files.

    Args:
        texts: Content by file name; a file's name without folder and suffix is the protocol's name.

    Returns:
        The definitions by name, in the order of `texts`.

    Raises:
        ProtocolDefinitionError: with the problems of every file.
    """
    definitions: dict[str, Definition] = {}
    problems: list[Problem] = []
    for file, text in texts.items():
        try:
            definition = load_definition(text, file)
        except ProtocolDefinitionError as error:
            problems.extend(error.problems)
            continue
        if definition.name in definitions:
            what = f"there are two protocols named {definition.name!r}"
            problems.append(Problem(file, "protocol", what, "rename one, and its file"))
        definitions[definition.name] = definition
    if problems:
        raise ProtocolDefinitionError(problems)
    return definitions
