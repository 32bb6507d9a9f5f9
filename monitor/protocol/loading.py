"""From the text of protocol files to protocols that may run."""

from __future__ import annotations

from collections.abc import Mapping

from monitor.errors import Problem, ProtocolDefinitionError
from monitor.protocol.definition import Definition
from monitor.protocol.template import Template, load_template


def load_definition(text: str | bytes, file: str) -> Definition:
    """Parse and check one protocol file, and return it with its parameters at their defaults; see `load_template`."""
    return load_template(text, file).default


def load_definitions(texts: Mapping[str, str | bytes]) -> dict[str, Definition]:
    """Parse and check protocol files, and return each with its parameters at their defaults; see `load_templates`."""
    return {name: template.default for name, template in load_templates(texts).items()}


def load_templates(texts: Mapping[str, str | bytes]) -> dict[str, Template]:
    """Parse and check protocol files.

    Args:
        texts: Content by file name; a file's name without folder and suffix is the protocol's name.

    Returns:
        The protocols by name, in the order of `texts`.

    Raises:
        ProtocolDefinitionError: with the problems of every file.
    """
    templates: dict[str, Template] = {}
    problems: list[Problem] = []
    for file, text in texts.items():
        try:
            template = load_template(text, file)
        except ProtocolDefinitionError as error:
            problems.extend(error.problems)
            continue
        name = template.default.name
        if name in templates:
            what = f"there are two protocols named {name!r}"
            problems.append(Problem(file, "protocol", what, "rename one, and its file"))
        templates[name] = template
    if problems:
        raise ProtocolDefinitionError(problems)
    return templates
