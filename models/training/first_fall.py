"""How a learnt threshold comes down from a default that is too high for a site: day by day, with the daemon's own rules.

``python models/training/first_fall.py DATA_DIR --cache build/training-cache``, after the recipe has filled the cache. A made
site shows ordinary clips now and then, so rarely that a known threshold would keep its budget. What is looked at closely
depends on the threshold in force, as live, and so does what is counted. The table of docs/operating-points.md comes from here.
"""

from __future__ import annotations

import sys
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import click
import numpy as np

from models.training.operating_points import CLEAR_AFTER_S, CLEAR_RATIO, HITS, OF, load_clips
from models.training.packaging import LABEL
from monitor.detect.budget import Standing, Tally, is_fall, move
from monitor.detect.ladder import RUNGS, EpisodeCounter, log_odds_of
from monitor.detect.persistence import DetectionRule, Detector, LevelRule
from monitor.evaluation.scoring import Track, join
from monitor.vocabulary import Posture, Severity

BUDGET_PER_H = 20 / 1000
HOURS_A_DAY = 1200.0
"""Fifty streams."""
DAYS = 21
SHOWN = (1, 2, 3, 5, 7, 10, 14, 21)
CLIPS_A_STRETCH = 12
MEASURED_STRETCHES = 400


@dataclass(frozen=True, slots=True)
class Seen:
    """A stretch of lively, ordinary video: how long, what it raised, and what was counted at each rung."""

    hours: float
    raised: int
    counted: np.ndarray


def show_stretch(normal: Sequence[Track], threshold: float, rng: np.random.Generator) -> Seen:
    """Watch a stretch calmly, and closely while there is suspicion."""
    track = join([normal[number] for number in rng.integers(0, len(normal), CLIPS_A_STRETCH)])
    act = LevelRule(max(0.95, threshold), HITS, OF)
    detector = Detector({LABEL: DetectionRule(LevelRule(threshold, HITS, OF), act, CLEAR_RATIO, CLEAR_AFTER_S)})
    counter = EpisodeCounter(HITS, OF, CLEAR_RATIO, CLEAR_AFTER_S)
    ends_s = {posture: [window.end_s for window in windows] for posture, windows in track.windows.items()}
    counted, raised, now_s, severity = np.zeros(RUNGS), 0, -1.0, Severity.NONE
    while True:
        posture = Posture.CLOSE if detector.suspicious or detector.severities else Posture.CALM
        number = bisect_right(ends_s[posture], now_s)
        if number == len(ends_s[posture]):
            return Seen(track.length_s / 3600, raised, counted)
        window = track.windows[posture][number]
        now_s, score = window.end_s, window.scores[LABEL]
        for change in detector.observe(now_s, {LABEL: score}):
            raised += change.severity >= Severity.REVIEW > severity
            severity = change.severity
        counted += counter.observe(now_s, score)


def live(
    normal: Sequence[Track], default: float, share: float, rng: np.random.Generator
) -> list[tuple[float, Standing]]:
    """Return for each day how often the budget was used up, and what was in force at its end.

    Args:
        normal: Lively, ordinary clips.
        default: The threshold in the beginning.
        share: Of the time, in which such clips are shown; nothing happens in the rest.
        rng: Which ones.
    """
    standing, tally = Standing(log_odds_of(default)), Tally.empty()
    days, owed_h = [], -rng.random() * CLIPS_A_STRETCH / 3600
    for day in range(DAYS):
        raised = 0
        for hour in range(24):
            owed_h += HOURS_A_DAY / 24 * share
            counted = np.zeros(RUNGS)
            while owed_h > 0:
                seen = show_stretch(normal, default if standing.first is None else standing.threshold, rng)
                owed_h, raised, counted = owed_h - seen.hours, raised + seen.raised, counted + seen.counted
            tally = tally.faded(1 / 24) + Tally(HOURS_A_DAY / 24, counted, np.zeros(RUNGS))
            before, standing = standing, move(standing, tally, BUDGET_PER_H, default, (day * 24 + hour) * 3600.0)
            if is_fall(before, standing):
                tally = Tally.empty()
        days.append((raised / HOURS_A_DAY / BUDGET_PER_H, standing))
    return days


@click.command()
@click.argument("data_dir", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--cache", type=click.Path(path_type=Path), default=Path("build/training-cache"), show_default=True)
@click.option("--sites", default=6, show_default=True, help="Made sites for each row.")
@click.option("--seed", default=0, show_default=True)
def main(data_dir: Path, cache: Path, sites: int, seed: int) -> None:
    """Show how far the budget is kept on the way down."""
    normal = [clip.track for clip in load_clips(data_dir, cache) if not clip.violent]
    click.echo("detections as a multiple of what the budget allows, mean of the sites")
    click.echo(
        f"| default | keeps the budget | {' | '.join(f'day {day}' for day in SHOWN)} | worst week | log-odds at the end | frozen |"
    )
    click.echo("|---" * (len(SHOWN) + 5) + "|")
    for default, keeping in ((0.95, 0.88), (0.95, 0.73), (0.732, 0.56), (0.732, 0.32)):
        rng = np.random.default_rng(seed)
        measured = [show_stretch(normal, keeping, rng) for _ in range(MEASURED_STRETCHES)]
        per_h = sum(seen.raised for seen in measured) / sum(seen.hours for seen in measured)
        lives = [
            live(normal, default, BUDGET_PER_H / per_h, np.random.default_rng([seed, site])) for site in range(sites)
        ]
        used = np.array([[times for times, _ in days] for days in lives])
        week = max(float(np.convolve(days, np.ones(7) / 7, "valid").max()) for days in used)
        ends = [days[-1][1] for days in lives]
        cells = " | ".join(f"{used[:, day - 1].mean():.1f}" for day in SHOWN)
        lies = np.mean([end.log_odds for end in ends])
        click.echo(
            f"| {default} | {keeping} | {cells} | {week:.1f} | {lies:.2f} | {sum(end.frozen for end in ends)} of {sites} |"
        )


if __name__ == "__main__":
    main()
