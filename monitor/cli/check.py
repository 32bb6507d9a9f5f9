"""`livecordon check`: everything that can be known to be wrong before the daemon starts."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager, closing
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import click

from monitor.cli.main import EXIT_USAGE
from monitor.cli.options import config_option
from monitor.errors import LivecordonError, MediaServerError, Problem, ProblemsError
from monitor.redact import redact_text

if TYPE_CHECKING:
    from monitor.config.loading import LoadedConfig
    from monitor.config.servers import AnyServer
    from monitor.servers.port import MediaServer


@click.command()
@config_option
@click.option("--no-probe", is_flag=True, help="Do not ask the media servers whether they answer.")
def check(config_file: Path | None, *, no_probe: bool) -> int:
    """Check configuration, protocols, model and media servers.

    Prints one line for each problem and each warning. Exits with 0 if there are only warnings, else with 2.
    """
    from monitor.config.loading import load_config  # noqa: PLC0415 - keeps `--help` fast

    problems: list[Problem] = []
    warnings: list[Problem] = []
    try:
        loaded = load_config(config_file, os.environ)
    except ProblemsError as failure:
        problems += failure.problems
    else:
        warnings += loaded.warnings()
        problems += problems_of(check_protocols, loaded)
        problems += problems_of(check_model, loaded)
        if not no_probe:
            found_problems, found_warnings = asyncio.run(_probe_all(loaded))
            problems += found_problems
            warnings += found_warnings
            warnings += occupied_ports(loaded)
    for problem in problems:
        click.echo(str(problem), err=True)
    for warning in warnings:
        click.echo(f"warning: {warning}", err=True)
    click.echo(_summary(len(problems), len(warnings)))
    return EXIT_USAGE if problems else 0


def _summary(problems: int, warnings: int) -> str:
    if problems:
        return f"{problems} problem{'s' * (problems != 1)}"
    return f"ok, {warnings} warning{'s' * (warnings != 1)}" if warnings else "ok"


def problems_of(look: Callable[[LoadedConfig], None], loaded: LoadedConfig) -> tuple[Problem, ...]:
    """Return what `look` complains of."""
    try:
        look(loaded)
    except ProblemsError as failure:
        return failure.problems
    return ()


def check_protocols(loaded: LoadedConfig) -> None:
    """Read every protocol, and choose those that the configuration names.

    Raises:
        ProblemsError: a file is wrong, or a protocol is missing.
    """
    from monitor.daemon.protocols import choose_protocols  # noqa: PLC0415 - keeps `--help` fast
    from monitor.incidents.library import load_protocol_templates  # noqa: PLC0415
    from monitor.shipped import protocols_dir  # noqa: PLC0415

    choose_protocols(loaded, load_protocol_templates(loaded.config.protocol.directory or protocols_dir()), None)


def check_model(loaded: LoadedConfig) -> None:
    """Load the model that the configuration names and run its self-test, as a watcher would.

    Raises:
        ProblemsError: there is none, it is refused, or it does not run.
    """
    from monitor.classify.onnx_classifier import OnnxClassifier  # noqa: PLC0415 - onnxruntime takes a while
    from monitor.daemon.model import chosen_package  # noqa: PLC0415
    from monitor.daemon.remote import remote_settings  # noqa: PLC0415
    from monitor.errors import ClassifierError  # noqa: PLC0415

    watch = loaded.config.watch
    try:
        package = chosen_package(loaded)
        if (remote := remote_settings(loaded, package, os.environ)) is None:
            OnnxClassifier(package, watch.provider)  # tests itself
        else:
            from monitor.classify.kserve_classifier import KServeClassifier  # noqa: PLC0415 - an extra

            KServeClassifier(package, remote).verify()
    except ClassifierError as failure:
        what = f"the model does not run ({redact_text(str(failure))})"
        raise ProblemsError([loaded.problem(("watch", "model"), what)]) from None


async def _probe_all(loaded: LoadedConfig) -> tuple[list[Problem], list[Problem]]:
    problems: list[Problem] = []
    warnings: list[Problem] = []
    for index, server in enumerate(loaded.config.servers):
        if relay_to_run(server) is not None:
            continue
        try:
            async with opened(server, loaded) as asked:
                found = await asked.probe()
        except MediaServerError as failure:
            problems.append(loaded.problem(("servers", index), words(failure), "is it running, and the address right?"))
        except ProblemsError as failure:
            problems += failure.problems
        else:
            warnings += [loaded.problem(("servers", index), redact_text(warning)) for warning in found]
    return problems, warnings


def relay_to_run(server: AnyServer) -> str | None:
    """Return the address of the relay that the daemon itself will run, where this entry is one."""
    from monitor.config.servers import EmbeddedServer  # noqa: PLC0415 - keeps `--help` fast

    return server.url if isinstance(server, EmbeddedServer) and server.serve else None


def opened(section: AnyServer, loaded: LoadedConfig) -> AbstractAsyncContextManager[MediaServer]:
    """Return the media server of an entry, to be entered."""
    from monitor.servers.factory import build_server  # noqa: PLC0415 - keeps `--help` fast

    web = loaded.config.web
    return build_server(section, gate_url=f"http://{web.gate_listen or web.listen}/gate/{section.name}")


def words(failure: LivecordonError) -> str:
    """Return what went wrong in one line without secrets."""
    return redact_text(str(failure)).replace("\n", " ")


def occupied_ports(loaded: LoadedConfig) -> Iterator[Problem]:
    """A port that is taken is no mistake where Livecordon itself is running already."""
    config = loaded.config
    wanted: list[tuple[tuple[str | int, ...], str]] = [(("web", "listen"), config.web.listen)]
    if config.web.gate_listen is not None:
        wanted.append((("web", "gate_listen"), config.web.gate_listen))
    for index, server in enumerate(config.servers):
        if (relay := relay_to_run(server)) is not None:
            parts = urlsplit(relay)
            wanted.append((("servers", index, "url"), f"{parts.hostname}:{parts.port or 80}"))
    for path, listen in wanted:
        host, _, port = listen.rpartition(":")
        if why := _unusable(host.strip("[]"), int(port)):
            yield loaded.problem(path, f"the address cannot be listened on ({why})", "is Livecordon running already?")


def _unusable(host: str, port: int) -> str | None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with closing(socket.socket(family, socket.SOCK_STREAM)) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as failure:
            return failure.strerror or "no such address"
    return None
