"""`livecordon watch`: the whole pipeline on files or addresses, with nothing cut and nothing sent."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import click

from monitor import shipped
from monitor.classify.kserve_guard import remote_classifier
from monitor.classify.onnx_classifier import OnnxClassifier
from monitor.classify.package import ModelPackage, find_package, load_package
from monitor.classify.port import Classifier
from monitor.cli.options import config_option
from monitor.cli.watch_progress import progress
from monitor.config.loading import LoadedConfig, load_config
from monitor.daemon.remote import remote_settings
from monitor.detect.persistence import DetectionRule
from monitor.detect.rules import rules_for
from monitor.errors import LivecordonError, SourceError
from monitor.evaluation.stream_time import Record, StreamTimeRun
from monitor.incidents.library import load_protocol
from monitor.logs import configure_logging
from monitor.protocol.definition import Definition
from monitor.redact import redact_text, redact_url
from monitor.video.source import VideoSource
from monitor.vocabulary import Posture

_LIVE_SCHEMES = ("rtmp", "rtmps", "rtsp", "rtsps", "http", "https")


@dataclass(frozen=True, slots=True)
class _Pipeline:
    classifier: Classifier
    definition: Definition
    rules: dict[str, DetectionRule]
    open_timeout_s: float
    read_timeout_s: float
    posture: Posture | None
    realtime: bool


@click.command()
@click.argument("sources", nargs=-1, required=True, metavar="SOURCE...")
@config_option
@click.option("--model", metavar="M", help="Model package: a name or a folder; the configuration's by default.")
@click.option("--protocol", metavar="P", help="Protocol: a name or a file; the configuration's default by default.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per line.")
@click.option(
    "--posture",
    type=click.Choice([posture.value for posture in Posture]),
    help="Watch at least this closely; close for files, whose key frames may be far apart, and calm for addresses.",
)
@click.option("--realtime", is_flag=True, help="Read files no faster than they would play.")
@click.option(
    "--plot",
    type=click.Path(path_type=Path, dir_okay=False, writable=True),
    metavar="FILE.png",
    help="Draw the scores.",
)
def watch(
    *,
    sources: tuple[str, ...],
    config_file: Path | None,
    model: str | None,
    protocol: str | None,
    as_json: bool,
    posture: str | None,
    realtime: bool,
    plot: Path | None,
) -> int:
    """Watch files or live addresses, one after the other, and print what Livecordon would do.

    The real sampling, model, persistence and protocol; deadlines run in stream time. Nothing is cut and nothing is
    sent. Exit status 1 if a source could not be watched; the others are watched all the same.
    """
    configure_logging("warning")
    if plot is not None:
        _check_plot(plot)
    pipeline = _build(config_file, model=model, protocol=protocol, posture=posture, realtime=realtime)
    failed = 0
    interrupted = False
    drawn: list[tuple[str, list[Record]]] = []
    for source in sources:
        records: list[Record] = []
        drawn.append((_shown(source), records))
        try:
            for record in _watched(source, pipeline, as_json=as_json):
                if plot is not None:
                    records.append(record)
                _print(record, as_json=as_json)
        except LivecordonError as error:
            failed += 1
            click.echo(f"livecordon: {_shown(source)}: {redact_text(str(error))}", err=True)
        except KeyboardInterrupt:
            interrupted = True
            break
    if plot is not None:
        _draw(plot, [(name, records) for name, records in drawn if records], pipeline)
    if interrupted:
        raise click.Abort
    return 1 if failed else 0


def _classifier(loaded: LoadedConfig, package: ModelPackage) -> Classifier:
    if package.manifest.remote is None:
        return OnnxClassifier(package, loaded.config.watch.provider)
    remote = remote_settings(loaded, package, os.environ)
    assert remote is not None  # noqa: S101 - for mypy: the package is remote
    return remote_classifier(package, remote, models_dir=loaded.config.watch.models_dir)


def _build(
    config_file: Path | None, *, model: str | None, protocol: str | None, posture: str | None, realtime: bool
) -> _Pipeline:
    loaded = load_config(config_file, os.environ)
    config = loaded.config
    folder = find_package(model or config.watch.model, config.watch.models_dir)
    package = load_package(folder, config.watch.model_variant if model is None else None)
    definition = load_protocol(
        protocol or config.protocol.default, config.protocol.directory or shipped.protocols_dir()
    )
    return _Pipeline(
        classifier=_classifier(loaded, package),
        definition=definition,
        rules=rules_for(config.detection, package),
        open_timeout_s=config.watch.open_timeout,
        read_timeout_s=config.watch.read_timeout,
        posture=None if posture is None else Posture(posture),
        realtime=realtime,
    )


def _watched(source: str, pipeline: _Pipeline, *, as_json: bool) -> Iterator[Record]:
    """Yield every record of one source.

    Raises:
        SourceError: it cannot be opened, has no video, or broke off; what was seen before has been yielded.
        KeyboardInterrupt: likewise, which is how one stops watching a live source.
    """
    run = StreamTimeRun(pipeline.definition, pipeline.rules)
    live = source.partition("://")[0].lower() in _LIVE_SCHEMES
    floor = pipeline.posture or (Posture.CALM if live else Posture.CLOSE)
    broken: SourceError | KeyboardInterrupt | None = None
    with VideoSource.open(
        source, open_timeout_s=pipeline.open_timeout_s, read_timeout_s=pipeline.read_timeout_s, live=live
    ) as opened:
        length_s = opened.info.duration_s
        clips = opened.clips(
            pipeline.classifier.clip_spec,
            posture=lambda: max(floor, run.posture, key=lambda posture: posture.rank),
            keep=None,
            stop=threading.Event(),
            decode_slots=None,
        )
        with progress(_shown(source), length_s, as_json=as_json) as tell:
            began_s = time.monotonic()
            try:
                for clip in clips:
                    if pipeline.realtime and not live:
                        time.sleep(max(0.0, began_s + clip.times_s[-1] - time.monotonic()))
                    scores = pipeline.classifier.classify([clip])[0]
                    by_label = dict(zip(pipeline.classifier.labels, map(float, scores), strict=True))
                    yield from run.observe(clip.times_s[-1], by_label)
                    tell(clip.times_s[-1])
            except (SourceError, KeyboardInterrupt) as error:
                # What was seen before the source broke off is worth telling all the same.
                broken = error
    if length_s is not None and broken is None:
        yield from run.advance(length_s)
    yield run.summary(_shown(source), length_s if broken is None else None)
    if broken is not None:
        raise broken


def _print(record: Record, *, as_json: bool) -> None:
    if as_json:
        # A reader at the other end of a pipe wants each line when it happens.
        sys.stdout.write(json.dumps(record) + "\n")
        sys.stdout.flush()
        return
    match record["type"]:
        case "detection":
            what = f"{record['label']} {'raised to' if record['raised'] else 'fell to'} {record['severity']}"
        case "transition":
            what = f"{record['from']} -> {record['to']} ({record['reason'].replace('_', ' ')})"
        case "effect":
            what = f"would {record['effect'].replace('_', ' ')}"
        case "summary":
            click.echo(
                f"{record['source']}: {record['duration_s']:.1f} s, {record['clips']} clips, "
                f"worst {record['max_severity']}, ends in {record['final_state']}"
            )
            return
        case _:
            return
    click.echo(f"  {record['t']:8.2f} s  {what}")


def _shown(source: str) -> str:
    return redact_url(source) if "://" in source else source


def _check_plot(file: Path) -> None:
    """Refuse what could only fail after everything has been watched."""
    if find_spec("matplotlib") is None:
        raise click.UsageError("--plot needs matplotlib: install livecordon[plot]")
    if not file.absolute().parent.is_dir():
        raise click.UsageError(f"--plot: there is no folder {file.absolute().parent}")


def _draw(file: Path, drawn: list[tuple[str, list[Record]]], pipeline: _Pipeline) -> None:
    if not drawn:
        return
    from monitor.cli.watch_plot import draw  # noqa: PLC0415 - matplotlib is slow to import and optional

    draw(file, drawn, rules=pipeline.rules, definition=pipeline.definition)
    click.echo(f"drew {file}", err=True)
