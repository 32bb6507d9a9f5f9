"""The protocols that an operator's directory holds."""

from __future__ import annotations

from pathlib import Path

from monitor.errors import Problem, ProtocolDefinitionError
from monitor.protocol.definition import Definition
from monitor.protocol.loading import load_templates
from monitor.protocol.template import Template


def load_protocols(directory: Path) -> dict[str, Definition]:
    """Return every protocol of `directory` with its parameters at their defaults; see `load_protocol_templates`."""
    return {name: template.default for name, template in load_protocol_templates(directory).items()}


def load_protocol_templates(directory: Path) -> dict[str, Template]:
    """Read, parse and check every ``*.yaml`` file in `directory`; blocks while it reads.

    Returns:
        The protocols by name, in the order of file names.

    Raises:
        ProtocolDefinitionError: with every problem of every file, also when the directory or a file cannot be read or
            there is none.
    """
    texts: dict[str, str | bytes] = {}
    problems: list[Problem] = []
    try:
        paths = sorted(path for path in directory.iterdir() if path.suffix in {".yaml", ".yml"})
    except OSError as error:
        what = f"the folder of protocols cannot be read ({error.strerror or type(error).__name__})"
        raise ProtocolDefinitionError(
            [Problem(str(directory), "", what, "see protocol.directory in the configuration")]
        ) from None
    for path in paths:
        try:
            texts[str(path)] = path.read_bytes()
        except OSError as error:
            what = f"the file cannot be read ({error.strerror or type(error).__name__})"
            problems.append(Problem(str(path), "", what, "let the daemon's user read it"))
    if not paths:
        what = "the folder holds no protocol: no file ends in .yaml"
        problems.append(Problem(str(directory), "", what, "copy one of the shipped protocols into it"))
    try:
        templates = load_templates(texts)
    except ProtocolDefinitionError as error:
        problems.extend(error.problems)
        raise ProtocolDefinitionError(problems) from None
    if problems:
        raise ProtocolDefinitionError(problems)
    return templates


def load_protocol(name_or_file: str, directory: Path) -> Definition:
    """Return one protocol with its parameters at their defaults; see `load_protocol_template`."""
    return load_protocol_template(name_or_file, directory).default


def load_protocol_template(name_or_file: str, directory: Path) -> Template:
    """Return one protocol: a file of its own, or one of `directory` by name.

    Blocks while it reads.

    Raises:
        ProtocolDefinitionError: there is none of that name, or a file has mistakes.
    """
    path = Path(name_or_file)
    if path.suffix in {".yaml", ".yml"}:
        try:
            text = path.read_bytes()
        except OSError as error:
            what = f"the file cannot be read ({error.strerror or type(error).__name__})"
            problem = Problem(name_or_file, "", what, "name a protocol file, or a protocol")
            raise ProtocolDefinitionError([problem]) from None
        return next(iter(load_templates({name_or_file: text}).values()))
    templates = load_protocol_templates(directory)
    if name_or_file not in templates:
        mend = f"there are: {', '.join(templates)}"
        raise ProtocolDefinitionError([Problem(str(directory), name_or_file, "there is no such protocol", mend)])
    return templates[name_or_file]
