"""The protocols that an operator's directory holds."""

from __future__ import annotations

from pathlib import Path

from monitor.protocol.definition import Definition


def load_protocols(directory: Path) -> dict[str, Definition]:
    """Read, parse and check every ``*.yaml`` file in `directory`.

    Returns:
        The definitions by name, in the order of file names.

    Raises:
        ProtocolDefinitionError: with every problem of every file, also when the directory cannot be read or is empty.
    """
    raise NotImplementedError
