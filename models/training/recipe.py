"""The recipe from clips to package, step by step."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from models.training.card import write_card
from models.training.clips import Video, assign_folds, load_videos
from models.training.evaluation import Estimate, Scored, auc, by_video, estimate, share_at_or_above, threshold_at
from models.training.fitting import calibration, cross_validate, fit_head
from models.training.packaging import LABEL, build_graph, write_package
from models.training.samples import EVALUATION_ONLY, Kind, Samples, build_samples

FOLDS = 5
FALSE_ALARMS = {"review": 0.10, "act": 0.02}
"""Operating points: the share of cross-validated normal clips that reach them."""

SUMMARY = "Scores half a second of video for violent motion between people: erratic, many-directed, accelerating."
TRAINING_DATA = (
    "Surveillance Camera Fight Dataset (Aktı, Tataroğlu, Ekenel, IPTA 2019; MIT): 150 fights and 150 ordinary scenes on "  # noqa: RUF001 - the author's name
    "fixed cameras. 46 ordinary clips (talking heads, sign language, street, people; MIT, CC BY 4.0, Apache-2.0) and 22 "
    "clips of people and animals in motion, dance, sport, gym and games, all without violence (from repositories under MIT, "
    "Apache-2.0 and BSD licences, which say nothing of each clip). Normal clips made from "
    "them: camera shake, zoom, cuts, flashes, scrolling, slide shows, waved pieces of pictures."
)
LIMITS = (
    "It sees motion, not meaning: sport, dance, play and a shaken camera can score high, and violence without much motion "
    "scores low. Strong camera shake blinds it. It has never seen attacks filmed by the attacker, nor firearms, and nothing is claimed about them. Its "
    "thresholds do not carry over to other material: measure them on your own ordinary streams. Its score alone is no "
    "ground for cutting a stream unattended."
)


@click.command()
@click.argument("data_dir", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--package", type=click.Path(path_type=Path), default=Path("models/violent-motion"), show_default=True)
@click.option("--cache", type=click.Path(path_type=Path), default=Path("build/training-cache"), show_default=True)
@click.option("--version", default="0.2.0", show_default=True, help="Version to write into the manifest.")
@click.option("--seed", default=0, show_default=True)
def main(data_dir: Path, package: Path, cache: Path, version: str, seed: int) -> None:
    """Train on the clips that DATA_DIR/clips.csv lists, evaluate, and write the package."""
    videos = load_videos(data_dir, cache)
    samples = build_samples(videos, seed)
    folds = assign_folds(videos, FOLDS, seed)[samples.video]
    datasets = np.array([video.dataset for video in videos])
    trainable = ~np.isin(datasets, sorted(EVALUATION_ONLY))[samples.video] & (samples.kind != Kind.SHAKEN)
    logits = cross_validate(samples, folds, trainable, seed)
    scored, shaken = (_scored(videos, samples, logits, kind) for kind in (Kind.PLAIN, Kind.SHAKEN))
    fitted_on = ~np.isin(scored.dataset, sorted(EVALUATION_ONLY))
    known = scored.only(fitted_on)
    slope, offset = calibration(known.score, known.violent, _both_labels_equal(known))
    scored = replace(scored, score=1 / (1 + np.exp(-(slope * scored.score + offset))))
    results = evaluate(scored, shaken, samples.video[samples.kind == Kind.PLAIN], fitted_on, seed)
    head = replace(fit_head(samples, trainable, seed), slope=slope, offset=offset)
    points = operating_points(results)
    facts = {
        "name": "violent-motion",
        "version": version,
        "summary": SUMMARY,
        "licence": "Apache-2.0",
        "operating_points": {LABEL: points},
        "training_data": TRAINING_DATA,
        "limits": LIMITS,
    }
    write_package(package, build_graph(head), facts)
    write_card(package, results, {**facts, "rule": points["rule"]})
    show(results)


def evaluate(
    scored: Scored,
    shaken: Scored,
    video: NDArray[np.int64],
    fitted_on: NDArray[np.bool_],
    seed: int,
) -> dict[str, Any]:
    """Return every number that manifest and card state, from cross-validated scores of undisturbed windows."""
    known, known_video = scored.only(fitted_on), video[fitted_on]
    normal = known.only(~known.violent)
    fights = known.only(known.violent)
    surveillance = known.dataset == "scfd"
    kinds = {
        "fights (scfd)": fights,
        "ordinary surveillance (scfd)": known.only(surveillance & ~known.violent),
        "ordinary life (benign)": known.only(known.dataset == "benign"),
        "sport, dance, games (active)": known.only(known.dataset == "active"),
        "sport, gym, everyday motion, never trained on (active-eval)": scored.only(~fitted_on),
    }
    points = {}
    for name, share in FALSE_ALARMS.items():
        threshold = round(threshold_at(normal, share), 3)
        points[name] = {
            "threshold": threshold,
            "rates": {
                kind: estimate(part, partial(share_at_or_above, threshold=threshold), seed)
                for kind, part in {"all normal clips": normal, **kinds}.items()
            },
        }
    videos = by_video(known, known_video)
    return {
        "auc": {
            "whole clips, all normal clips as negatives": estimate(videos, auc, seed),
            "whole clips, surveillance only": estimate(videos.only(videos.dataset == "scfd"), auc, seed),
            "half-second windows, all normal clips as negatives": estimate(known, auc, seed),
            "half-second windows under strong camera shake, pan and zoom (made)": estimate(
                shaken.only(~np.isin(shaken.dataset, sorted(EVALUATION_ONLY))), auc, seed
            ),
        },
        "points": points,
        "counts": {kind: (len(np.unique(part.group)), len(part.score)) for kind, part in kinds.items()},
    }


def operating_points(results: dict[str, Any]) -> dict[str, Any]:
    """Return the manifest's entry for the label."""
    measured = []
    for name, point in results["points"].items():
        for kind, rate in point["rates"].items():
            measured.append(
                {
                    "at": name,
                    "what": "recall" if kind.startswith("fights") else "false_alarms",
                    "of": "clips",
                    "on": f"{kind}; cross-validated, source videos kept whole",
                    "rate": round(rate.value, 3),
                    "low": round(rate.low, 3),
                    "high": round(rate.high, 3),
                },
            )
    shares = ", ".join(f"{name} at {share:.0%}" for name, share in FALSE_ALARMS.items())
    return {
        **{name: point["threshold"] for name, point in results["points"].items()},
        "rule": f"The score that this share of cross-validated normal clips reaches: {shares}.",
        "measured": measured,
    }


def show(results: dict[str, Any]) -> None:
    """Print the results."""
    table = Table("measure", "value (95 % interval)")
    for name, value in results["auc"].items():
        table.add_row(f"AUC, {name}", str(value))
    for name, point in results["points"].items():
        for kind, rate in point["rates"].items():
            table.add_row(f"share at or above {name} ({point['threshold']}): {kind}", _percent(rate))
    Console().print(table)


def _percent(rate: Estimate) -> str:
    return f"{rate.value:.1%} ({rate.low:.0%}-{rate.high:.0%})"


def _scored(videos: list[Video], samples: Samples, logits: NDArray[np.float64], kind: Kind) -> Scored:
    rows = np.flatnonzero(samples.kind == kind)
    video = samples.video[rows]
    return Scored(
        score=logits[rows],
        violent=samples.violent[rows],
        weight=1 / np.bincount(video)[video],
        group=np.array([videos[index].group for index in video]),
        dataset=np.array([videos[index].dataset for index in video]),
    )


def _both_labels_equal(scored: Scored) -> NDArray[np.float64]:
    weights = scored.weight.copy()
    weights[scored.violent] *= weights[~scored.violent].sum() / weights[scored.violent].sum()
    return weights
