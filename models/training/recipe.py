"""The recipe from clips to package, step by step."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import click
import numpy as np
from rich.console import Console
from rich.table import Table

from models.training.card import Facts, percent, words_for, write_card
from models.training.clips import Labelled, assign_folds, list_clips
from models.training.fitting import HeldOut, score_held_out
from models.training.judging import FALSE_ALARMS, FIGHTS, CrossValidated, Results, judge, platt, scored
from models.training.live import POSTURES, score_fold_as_live
from models.training.packaging import LABEL, build_graph, cpu_ms_per_clip, session_mib, write_package
from models.training.samples import EVALUATION_ONLY, Kind, Samples, build_samples
from models.training.streams import Noticed, judge_streams, noticed
from models.training.whole import NO_FOLD, fit_whole, head_of
from models.training.workshop import Workshop, fingerprint

FITTED_BY = ("fitting.py", "mixing.py", "clips.py", "samples.py")
FOLDS = 5
REPEATS = 3
"""Folds are dealt anew so many times: one deal alone is worth a per cent of luck."""

SUMMARY = "Scores half a second of video for violent motion between people: erratic, many-directed, accelerating."
TRAINING_DATA = (
    "Surveillance Camera Fight Dataset (Aktı, Tataroğlu, Ekenel, IPTA 2019; MIT): 150 fights and 150 ordinary scenes on "  # noqa: RUF001 - the author's name
    "fixed cameras. 46 ordinary clips (talking heads, sign language, street, people; MIT, CC BY 4.0, Apache-2.0) and 22 "
    "clips of people and animals in motion, dance, sport, gym and games, all without violence (from repositories under MIT, "
    "Apache-2.0 and BSD licences, which say nothing of each clip). Normal clips made from them: camera shake, zoom, "
    "speed-up, cuts, fades, flashes, scrolling, slide shows, waved pieces of pictures, drawn dancers, crowds, rain, games."
)
LIMITS = (
    "It sees motion, not meaning: sport, dance, play and a shaken camera can score high, and violence without much motion "
    "scores low. Strong camera shake still costs it much of its power. It has never seen attacks filmed by the attacker, "
    "nor firearms, and nothing is claimed about them. Its thresholds do not carry over to other material: measure them on "
    "your own ordinary streams. Its score alone is no ground for cutting a stream unattended."
)


@click.command()
@click.argument("data_dir", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--package", type=click.Path(path_type=Path), default=Path("models/violent-motion"), show_default=True)
@click.option("--cache", type=click.Path(path_type=Path), default=Path("build/training-cache"), show_default=True)
@click.option("--version", default="0.3.0", show_default=True, help="Version to write into the manifest.")
@click.option("--seed", default=0, show_default=True)
@click.option(
    "--mixup",
    type=click.FloatRange(0.0, 1.0),
    default=0.0,
    show_default=True,
    help="Also fit to mixtures of windows; 0.2 to 0.4 is usual, 0 leaves them out.",
)
def main(*, data_dir: Path, package: Path, cache: Path, version: str, seed: int, mixup: float) -> None:
    """Train on the clips that DATA_DIR/clips.csv lists, evaluate, and write the package.

    What is finished is kept in the cache: an interrupted run goes on where it stopped.
    """
    began_s, own_began_s = time.monotonic(), time.process_time()
    clips = list_clips(data_dir)
    workshop = Workshop(cache)
    samples = build_samples(clips, data_dir, workshop, seed)
    unfitted = [index for index, clip in enumerate(clips) if clip.dataset in EVALUATION_ONLY]
    active = [index for index, clip in enumerate(clips) if clip.dataset == "active"]
    cross = partial(cross_validate, clips, samples, workshop, seed=seed, mixup=mixup)
    result = cross(unseen=unfitted, repeats=REPEATS)
    without_active = cross(unseen=unfitted + active, repeats=1)
    results = judge(clips, samples, result, without_active, seed)
    known = scored(clips, samples, result.logits, Kind.PLAIN)
    slope, offset = platt(known.only(~np.isin(known.dataset, sorted(EVALUATION_ONLY))))
    everything = replace(result.held_out[0], fold=NO_FOLD)
    fitted = workshop.do(
        f"whole-{fingerprint(FITTED_BY, everything.words)}", fit_whole, [(everything,)], "fitting to everything"
    )
    head = replace(head_of(fitted[0]), slope=slope, offset=offset)
    chosen = (samples.kind < Kind.CONDITION) & ~np.isin(samples.video, unfitted)
    points = operating_points(results)
    write_package(
        package,
        build_graph(head),
        {
            "name": "violent-motion",
            "version": version,
            "summary": SUMMARY,
            "licence": "Apache-2.0",
            "operating_points": {LABEL: points},
            "training_data": TRAINING_DATA,
            "limits": LIMITS,
        },
    )
    streams = watch_streams(clips, result, workshop, package=package, data_dir=data_dir, line=(slope, offset))
    facts = Facts(
        summary=SUMMARY,
        limits=LIMITS,
        training_data=TRAINING_DATA,
        rule=points["rule"],
        clips=clips,
        measurements=samples.features.shape[1],
        windows=int(chosen.sum()),
        parameters=head.parameters,
        repeats=REPEATS,
        cpu_h=(workshop.cpu_s + time.process_time() - own_began_s) / 3600,
        hours=(time.monotonic() - began_s) / 3600,
        clip_ms=cpu_ms_per_clip(package),
        session_mib=session_mib(package),
        model_bytes=(package / "model.onnx").stat().st_size,
    )
    write_card(package, results, streams, facts)
    show(results, streams)


def cross_validate(
    clips: Sequence[Labelled],
    samples: Samples,
    workshop: Workshop,
    *,
    unseen: Sequence[int],
    repeats: int,
    seed: int,
    mixup: float = 0.0,
) -> CrossValidated:
    """Score every window by heads that saw nothing of its fold; folds are dealt anew for each repeat."""
    folds = np.stack([assign_folds(clips, FOLDS, seed + repeat) for repeat in range(repeats)], axis=1)
    table = workshop.folder / f"samples-{fingerprint((), samples.features.tobytes(), samples.kind.tobytes())}.npz"
    if not table.exists():
        samples.save(table)
    held_out = [
        HeldOut(table, folds[:, repeat], fold, tuple(unseen), seed + 100 * repeat, mixup)
        for repeat in range(repeats)
        for fold in range(FOLDS)
    ]
    name = fingerprint(FITTED_BY, [one.words for one in held_out])
    parts = workshop.do(f"fits-{name}", score_held_out, [(one,) for one in held_out], "cross-validating")
    logits = np.full((len(samples.video), repeats), np.nan)
    for number, part in enumerate(parts):
        scored_rows = np.isfinite(part["logits"])
        logits[scored_rows, number // FOLDS] = part["logits"][scored_rows]
    return CrossValidated(logits, folds, tuple(held_out))


def watch_streams(
    clips: Sequence[Labelled],
    result: CrossValidated,
    workshop: Workshop,
    *,
    package: Path,
    data_dir: Path,
    line: tuple[float, float],
) -> dict[str, dict[str, Noticed]]:
    """Return what comes of it on streams, by how closely they are watched; models saw nothing of the clips they score."""
    tasks = [(held_out, clips, data_dir) for held_out in result.held_out[:FOLDS]]
    code = ("fitting.py", "mixing.py", "live.py", "packaging.py", "samples.py", "velocity.py", "motion_features.py")
    name = fingerprint(code, [held_out.words for held_out, _, _ in tasks])
    parts = workshop.do(f"live-{name}", score_fold_as_live, tasks, "watching held-out clips")
    return {sampling.value: noticed(judge_streams(clips, parts, package, line, sampling)) for sampling in POSTURES}


def operating_points(results: Results) -> dict[str, Any]:
    """Return the manifest's entry for the label."""
    measured = [
        {
            "at": name,
            "what": "recall" if kind == FIGHTS else "false_alarms",
            "of": "clips",
            "on": f"{kind}; cross-validated, source videos kept whole",
            "rate": round(rate.value, 3),
            "low": round(min(rate.low, rate.value), 3),
            "high": round(max(rate.high, rate.value), 3),
        }
        for name, point in results.points.items()
        for kind, rate in point.rates.items()
    ]
    shares = ", ".join(f"{name} at {share:.0%}" for name, share in FALSE_ALARMS.items())
    return {
        **{name: point.threshold for name, point in results.points.items()},
        "rule": f"The score that this share of cross-validated normal clips reaches: {shares}.",
        "measured": measured,
    }


def show(results: Results, streams: dict[str, dict[str, Noticed]]) -> None:
    """Print the results."""
    table = Table("measure", "value (95 % interval)")
    for name, value in results.auc.items():
        table.add_row(f"AUC, {name}", str(value))
    for name, error in results.calibration.items():
        table.add_row(f"calibration error, {name}", f"{error:.3f}")
    for name, point in results.points.items():
        for kind, rate in point.rates.items():
            table.add_row(f"share at or above {name} ({point.threshold}): {kind}", percent(rate))
    for name, robust in results.robustness.items():
        shares = f"recall {robust.recall:.0%}, false alarms {robust.false_alarms:.0%}"
        table.add_row(f"{name}: AUC of windows; at review", f"{robust.auc}; {shares}")
    for sampling, answers in streams.items():
        for what, answer in answers.items():
            table.add_row(f"{sampling}: {what}", words_for(answer))
    for about, mistakes in (("missed", results.misses), ("alarmed", results.alarms)):
        for mistake in mistakes:
            table.add_row(f"{about}: {mistake.path}", f"{mistake.score:.2f}")
    Console().print(table)
