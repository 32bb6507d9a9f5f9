"""Which protocol, with which values of its parameters, is in force on which stream."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Final

from monitor.config.loading import LoadedConfig
from monitor.config.models import ProtocolRule
from monitor.config.servers import AnyServer
from monitor.errors import ConfigError, Problem, ProtocolDefinitionError
from monitor.protocol.binding import bound, unbindable
from monitor.protocol.definition import Definition
from monitor.protocol.template import Template
from monitor.servers.factory import capabilities_of
from monitor.vocabulary import StreamRef
from monitor.yaml_source import Path

_WILDCARDS: Final = frozenset("*?[")
_VALUES: Final[Path] = ("protocol", "parameters")


@dataclass(frozen=True, slots=True)
class StreamRule:
    """Streams whose application and name match these patterns run under this definition."""

    app: str
    name: str
    definition: Definition

    def matches(self, ref: StreamRef) -> bool:
        """Whether the rule is for this stream; its server has been looked at."""
        return fnmatchcase(ref.app, self.app) and fnmatchcase(ref.name, self.name)


@dataclass(frozen=True, slots=True)
class ServerProtocols:
    """What is in force on one media server: the first rule that matches, else `default`."""

    default: Definition
    rules: tuple[StreamRule, ...] = ()


def choose_protocols(
    loaded: LoadedConfig, templates: Mapping[str, Template], labels: Collection[str] | None
) -> dict[str, ServerProtocols]:
    """Return what is in force on each configured media server, by its name.

    Args:
        loaded: The configuration.
        templates: The protocols that there are, by name.
        labels: What the model can detect; None if that is not known here.

    Raises:
        ConfigError: a protocol, server, parameter or policy that there is not, a value that a parameter or the protocol does not
            allow, a rule that an earlier one always comes before, or a protocol that a server cannot carry out.
    """
    return _Chooser(loaded, templates, labels).choose()


@dataclass(frozen=True, slots=True)
class _Choice:
    """A definition, and where the configuration names its protocol."""

    definition: Definition
    template: Template
    path: Path


class _Chooser:
    def __init__(self, loaded: LoadedConfig, templates: Mapping[str, Template], labels: Collection[str] | None) -> None:
        self._loaded = loaded
        self._templates = templates
        self._labels = labels
        self._problems: list[Problem] = []

    def choose(self) -> dict[str, ServerProtocols]:
        config = self._loaded.config
        rules = config.protocol.rules
        for index, rule in enumerate(rules):
            self._check_place(index, rule)
        # Looked at also where every server names its own.
        self._made(config.protocol.default, ("protocol", "default"), config.protocol.parameters, _VALUES)
        chosen: dict[str, ServerProtocols] = {}
        for position, server in enumerate(config.servers):
            path: Path = ("servers", position, "protocol") if server.protocol else ("protocol", "default")
            name = server.protocol or config.protocol.default
            # Values for the default protocol are not those of the one that a server names instead.
            values = {} if server.protocol else config.protocol.parameters
            default = self._on(server, self._made(name, path, values, _VALUES))
            found = [
                StreamRule(rule.app, rule.name, definition)
                for index, rule in enumerate(rules)
                if rule.server in (None, server.name)
                and (definition := self._on(server, self._ruled(index, rule, name))) is not None
            ]
            if default is not None:
                chosen[server.name] = ServerProtocols(default, tuple(found))
        if self._problems:
            # What is wrong for one server is often wrong for the next, too.
            raise ConfigError(list(dict.fromkeys(self._problems)))
        return chosen

    def _ruled(self, index: int, rule: ProtocolRule, otherwise: str) -> _Choice | None:
        path: Path = ("protocol", "rules", index)
        named = (*path, "protocol") if rule.protocol else path
        return self._made(rule.protocol or otherwise, named, rule.parameters, (*path, "parameters"))

    def _check_place(self, index: int, rule: ProtocolRule) -> None:
        path: Path = ("protocol", "rules", index)
        servers = [server.name for server in self._loaded.config.servers]
        if rule.server is not None and rule.server not in servers:
            self._note((*path, "server"), "there is no media server of this name", f"use one of {', '.join(servers)}")
        for earlier, other in enumerate(self._loaded.config.protocol.rules[:index]):
            if _covers(other, rule):
                what = f"this rule can never apply: entry {earlier} (counted from 0) is for all of these streams, too"
                self._note(path, what, "put it first, or remove it")
                break

    def _made(self, name: str, path: Path, values: Mapping[str, str | int], place: Path) -> _Choice | None:
        template = self._templates.get(name)
        if template is None:
            self._note(path, "there is no such protocol", f"use one of {', '.join(self._templates)}")
            return None
        objections = list(_objections(template, values))
        for key, what, mend in objections:
            self._note((*place, key), what, mend)
        if objections:
            return None
        try:
            definition = template.with_values(values)
        except ProtocolDefinitionError as error:
            for problem in error.problems:
                self._note(place, f"with these values protocol {name} must not run: {problem}", "")
            return None
        unknown = definition.labels - set(self._labels) if self._labels is not None else frozenset()
        if unknown and self._labels is not None:
            what = f"its protocol waits for labels that the model does not give: {', '.join(sorted(unknown))}"
            self._note(path, what, f"the model gives {', '.join(self._labels)}")
        codes = [policy.code for policy in self._loaded.config.policies_in_force]
        if missing := definition.policies - set(codes):
            what = f"its protocol enforces policies that there are not: {', '.join(sorted(missing))}"
            self._note(path, what, f"add them to policies, or use one of {', '.join(codes) or 'none'}")
        return _Choice(definition, template, path)

    def _on(self, server: AnyServer, choice: _Choice | None) -> Definition | None:
        if choice is None:
            return None
        can_hold = capabilities_of(server).hold
        for found in unbindable(choice.definition, can_hold=can_hold):
            problem = choice.template.document.problem(found.path, found.what, found.mend)
            self._note(choice.path, f"media server {server.name} cannot carry this protocol out: {problem}", "")
        return bound(choice.definition, can_hold=can_hold)

    def _note(self, path: Path, what: str, mend: str) -> None:
        self._problems.append(self._loaded.problem(path, what, mend))


def _objections(template: Template, values: Mapping[str, str | int]) -> Iterator[tuple[str, str, str]]:
    specs = template.parameters
    for name, value in values.items():
        if name not in specs:
            mend = f"it has {', '.join(specs)}" if specs else "it has none"
            yield name, f"protocol {template.default.name} has no such parameter", mend
        elif (objection := specs[name].objection(value)) is not None:
            yield name, objection, f"the default is {specs[name].default}"


def _covers(other: ProtocolRule, rule: ProtocolRule) -> bool:
    """Whether `other` is certainly for every stream that `rule` is for."""
    return (
        other.server in (None, rule.server)
        and _pattern_covers(other.app, rule.app)
        and _pattern_covers(other.name, rule.name)
    )


def _pattern_covers(other: str, pattern: str) -> bool:
    is_plain: Callable[[str], bool] = _WILDCARDS.isdisjoint
    if other in ("*", pattern):
        return True
    if is_plain(pattern):
        return fnmatchcase(pattern, other)
    prefix = other[:-1]
    return other.endswith("*") and is_plain(prefix) and pattern.startswith(prefix)
