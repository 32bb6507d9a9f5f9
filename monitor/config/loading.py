"""From a file and the environment to a `Config`, or to a list of everything that is wrong with them."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from pydantic import ValidationError

from monitor.config.checks import Finding, find_mistakes, find_warnings
from monitor.config.fields import PATHS_FROM
from monitor.config.mistakes import explain
from monitor.config.models import Config, WebSection
from monitor.config.overrides import Overridden, apply_overrides
from monitor.errors import ConfigError, Problem
from monitor.shipped import example_config
from monitor.yaml_source import MAX_BYTES, Path, YamlDocument, parse_yaml, path_text

FILE_NAME: Final = "config.yaml"


@dataclass(frozen=True, slots=True)
class LoadedConfig:
    """A configuration that can be used.

    Attributes:
        config: The settings in force; paths are absolute.
        document: What stands in the file, with line numbers.
        file: The file.
        overridden: Which environment variables replaced which settings.
    """

    config: Config
    document: YamlDocument
    file: pathlib.Path
    overridden: Overridden

    def problem(self, path: Path, what: str, mend: str = "") -> Problem:
        """Return a problem that points at the line, or the environment variable, where `path` was set."""
        return _problem(self.document, self.overridden, (path, what, mend))

    def warnings(self) -> tuple[Problem, ...]:
        """Return what works but deserves a second look."""
        return tuple(self.problem(*finding) for finding in find_warnings(self.config))


def load_config(path: pathlib.Path | None, environ: Mapping[str, str]) -> LoadedConfig:
    """Read, merge, validate and cross-check the configuration.

    Args:
        path: The file; without one, ``config.yaml`` in the working directory or else the shipped example.
        environ: The environment: overrides (``LIVECORDON_…``) and secrets.

    Returns:
        The configuration. Relative paths are taken from the file's folder; with the shipped example, which may lie
        inside an installed package, from the working directory.

    Raises:
        ConfigError: with every problem found, in the order of the file's lines. No value is quoted.
    """
    folder = pathlib.Path.cwd()
    if path is None:
        here = pathlib.Path(FILE_NAME)
        path = here if here.exists() else example_config()
    else:
        folder = path.absolute().parent
    document = parse_yaml(_read(path), str(path), ConfigError)
    _require_mapping(document)
    overridden = apply_overrides(_without_empty_sections(document.data), environ)
    problems = list(overridden.problems)
    try:
        config = Config.model_validate(overridden.data, context={PATHS_FROM: folder})
    except ValidationError as failure:
        findings = list(explain(failure, overridden.data))
        problems += [_problem(document, overridden, finding) for finding in findings]
        raise ConfigError(_in_order(problems)) from None
    problems += [_problem(document, overridden, finding) for finding in find_mistakes(config, environ)]
    if problems:
        raise ConfigError(_in_order(problems))
    return LoadedConfig(config, document, path, overridden)


def configured_listen(path: pathlib.Path | None, environ: Mapping[str, str]) -> str:
    """Return `web.listen` alone, for whoever wants to speak with a daemon and has none of its secrets.

    Raises:
        ConfigError: the file cannot be read, or is no YAML.
    """
    if path is None:
        here = pathlib.Path(FILE_NAME)
        path = here if here.exists() else example_config()
    document = parse_yaml(_read(path), str(path), ConfigError)
    _require_mapping(document)
    web = apply_overrides(_without_empty_sections(document.data), environ).data.get("web")
    listen = web.get("listen") if isinstance(web, Mapping) else None
    return listen if isinstance(listen, str) else WebSection().listen


def _read(path: pathlib.Path) -> bytes:
    try:
        with path.open("rb") as opened:
            # One byte more than allowed, so that the parser sees that there is too much.
            return opened.read(MAX_BYTES + 1)
    except FileNotFoundError:
        mend = "name another with --config, or start from the shipped example"
        raise ConfigError([Problem(str(path), "", "there is no such file", mend)]) from None
    except (OSError, ValueError) as failure:
        what = f"the file cannot be read ({getattr(failure, 'strerror', None) or 'no usable path'})"
        raise ConfigError([Problem(str(path), "", what, "check path and permissions")]) from None


def _require_mapping(document: YamlDocument) -> None:
    if document.data is None:
        raise ConfigError([Problem(document.file, "", "the file is empty", "start from the shipped config.yaml")])
    if not isinstance(document.data, dict):
        mend = "write `key: value` lines, such as `servers:`"
        raise ConfigError([document.problem((), "the file holds no settings", mend)])


def _without_empty_sections(data: Mapping[str, Any]) -> dict[str, Any]:
    """A section whose every line is commented out means its defaults; an empty value anywhere else is a mistake."""
    sections = {name for name, field in Config.model_fields.items() if isinstance(field.annotation, type)}
    return {name: {} if value is None and name in sections else value for name, value in data.items()}


def _problem(document: YamlDocument, overridden: Overridden, finding: Finding) -> Problem:
    path, what, mend = finding
    if (variable := overridden.variable_for(path, document.lines)) is not None:
        return Problem(variable, path_text(path), what, mend)
    return document.problem(path, what, mend)


def _in_order(problems: list[Problem]) -> list[Problem]:
    return sorted(problems, key=lambda problem: problem.line or 0)
