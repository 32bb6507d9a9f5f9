"""Which protocol a command works on: its name or file, values of its parameters, and what the media server can do."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import click

from monitor import shipped
from monitor.errors import ProtocolDefinitionError
from monitor.incidents.library import load_protocol_template
from monitor.protocol.binding import bound, unbindable
from monitor.protocol.definition import Definition
from monitor.protocol.parameters import Value
from monitor.protocol.template import Template


def chosen_protocol(
    name_or_file: str,
    parameters: Iterable[str] = (),
    *,
    can_hold: bool | None = None,
    directory: Path | None = None,
) -> Definition:
    """Return a protocol with its parameters set, as it runs on a media server.

    Args:
        name_or_file: A file, or the name of a protocol in `directory`.
        parameters: ``name=value``, or several of them with commas between them.
        can_hold: What the media server can do; None leaves the protocol as the file has it.
        directory: Where protocols are looked up by name; the shipped ones by default.

    Raises:
        click.UsageError: there is no such parameter, or it cannot have that value.
        ProtocolDefinitionError: there is no such protocol, it has mistakes, it has some with these values, or such a
            media server cannot carry it out.
    """
    template = load_protocol_template(name_or_file, directory or shipped.protocols_dir())
    definition = template.with_values(_values(template, parameters))
    if can_hold is None:
        return definition
    found = unbindable(definition, can_hold=can_hold)
    if found:
        raise ProtocolDefinitionError([template.document.problem(one.path, one.what, one.mend) for one in found])
    return bound(definition, can_hold=can_hold)


def _values(template: Template, parameters: Iterable[str]) -> dict[str, Value]:
    values: dict[str, Value] = {}
    for given in (part for parameter in parameters for part in parameter.split(",")):
        name, equals, text = given.strip().partition("=")
        spec = template.parameters.get(name)
        if not equals:
            raise click.UsageError(f"--parameters: write NAME=VALUE, not {given!r}")
        if spec is None:
            known = ", ".join(template.parameters) or "none"
            raise click.UsageError(f"--parameters: {template.default.name} has no {name!r}; it has {known}")
        value: Value = int(text) if text.isascii() and text.isdigit() else text
        if (objection := spec.objection(value)) is not None:
            raise click.UsageError(f"--parameters: {name}: {objection}")
        values[name] = value
    return values
