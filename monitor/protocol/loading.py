"""From the text of protocol files to definitions that may run."""

from __future__ import annotations

from collections.abc import Mapping

from monitor.protocol.definition import Definition


def load_definitions(texts: Mapping[str, str | bytes]) -> dict[str, Definition]:
    """Parse and check protocol files.

    Args:
        texts: Content by file name; a file's name without its suffix is the protocol's name.

    Returns:
        The definitions by name, in the order of `texts`.

    Raises:
        ProtocolDefinitionError: with every problem of every file.
    """
    raise NotImplementedError
