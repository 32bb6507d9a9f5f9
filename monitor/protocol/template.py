"""A protocol before its parameters have values: what the configuration makes definitions of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from monitor.errors import Problem, ProtocolDefinitionError
from monitor.protocol.checks import findings
from monitor.protocol.definition import Definition
from monitor.protocol.parameters import ParameterSpec, Value, corners, filled, read_specs
from monitor.protocol.parsing import parse_definition
from monitor.yaml_source import YamlDocument, parse_yaml


@dataclass(frozen=True, slots=True)
class Template:
    """A protocol file that may run with its defaults, and at every end of its parameters' ranges.

    Attributes:
        document: The file.
        parameters: What it declares, by name.
        default: The definition with every parameter at its default.
    """

    document: YamlDocument
    parameters: Mapping[str, ParameterSpec]
    default: Definition

    def with_values(self, values: Mapping[str, Value]) -> Definition:
        """Return the definition with some parameters set; the others keep their defaults.

        Args:
            values: By name; each has passed `ParameterSpec.objection`.

        Raises:
            ProtocolDefinitionError: with these values it must not run; problems point at the protocol's file.
        """
        if not values:
            return self.default
        definition, problems = _definition_with(self.document, self.parameters, values)
        if problems or definition is None:
            raise ProtocolDefinitionError(_in_order(problems))
        return definition


def load_template(text: str | bytes, file: str) -> Template:
    """Parse and check one protocol file.

    Args:
        text: Its content.
        file: Its name, as problems print it; without folder and suffix it is the protocol's name.

    Raises:
        ProtocolDefinitionError: with every problem that can be told at once: of the YAML, else of the parameters and
            words, else of what they mean, else of what they would mean with other values of the parameters.
    """
    document = parse_yaml(text, file, ProtocolDefinitionError)
    specs, problems = read_specs(document)
    if problems:
        raise ProtocolDefinitionError(_in_order(problems))
    definition, problems = _definition_with(document, specs, {})
    expected = file.rpartition("/")[2].rpartition(".")[0]
    if definition is not None and definition.name != expected:
        what = f"the protocol is named {definition.name!r}, the file {expected!r}"
        problems.append(document.problem(("protocol",), what, "give both the same name"))
    if problems or definition is None:
        raise ProtocolDefinitionError(_in_order(problems))
    problems = _problems_at_corners(document, specs)
    if problems:
        raise ProtocolDefinitionError(_in_order(problems))
    return Template(document, specs, definition)


def _definition_with(
    document: YamlDocument, specs: Mapping[str, ParameterSpec], values: Mapping[str, Value]
) -> tuple[Definition | None, list[Problem]]:
    every = {name: spec.default for name, spec in specs.items()} | dict(values)
    with_values, problems = filled(document, specs, every)
    try:
        definition = replace(parse_definition(with_values), parameters=every)
    except ProtocolDefinitionError as error:
        if problems:
            # An unknown parameter is no value either; saying so once is enough.
            known = {problem.line for problem in problems}
            return None, problems + [problem for problem in error.problems if problem.line not in known]
        return None, list(error.problems)
    if problems:
        return None, problems
    return definition, [document.problem(found.path, found.what, found.mend) for found in findings(definition)]


def _problems_at_corners(document: YamlDocument, specs: Mapping[str, ParameterSpec]) -> list[Problem]:
    problems: dict[tuple[str, int | None], Problem] = {}
    for values in corners(specs):
        _, found = _definition_with(document, specs, values)
        changed = {name: value for name, value in values.items() if value != specs[name].default}
        given = " and ".join(f"{name} {value}" for name, value in changed.items())
        for problem in found:
            what = f"with {given}, which is allowed: {problem.what}"
            problems.setdefault((problem.where, problem.line), replace(problem, what=what))
    return list(problems.values())


def _in_order(problems: list[Problem]) -> list[Problem]:
    return sorted(problems, key=lambda problem: problem.line or 0)
