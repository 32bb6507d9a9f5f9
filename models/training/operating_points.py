"""How thresholds do on streams: fixed, learnt from a budget, and relative to a stream's own history.

``python models/training/operating_points.py DATA_DIR --cache build/training-cache``, after the recipe has filled the cache.
Scores are those of models that saw nothing of the clip's fold. The tables of docs/evaluating.md come from here.
"""

from __future__ import annotations

import sys
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import click
import numpy as np

from models.training.clips import list_clips
from models.training.fitting import calibration
from models.training.live import POSTURES
from models.training.packaging import LABEL
from models.training.recipe import FOLDS
from monitor.detect.budget import FIRST_FALL, Tally, choose
from monitor.detect.ladder import EpisodeCounter, log_odds_of, score_of
from monitor.detect.persistence import DetectionRule, Detector, LevelRule
from monitor.evaluation.scoring import Track, Window, join
from monitor.evaluation.stitching import LabelledTrack, StitchedStream, stitch
from monitor.vocabulary import Posture, Severity

SOON_S = 5.0
SEEDS = 12
"""Clips are stitched anew so many times: what one deal gives is luck."""
HITS, OF, CLEAR_RATIO, CLEAR_AFTER_S = 3, 5, 0.8, 10.0
ACT_HITS, ACT_OF = 4, 6
HISTORY_S, LEAST_HISTORY_S = 180.0, 60.0
LEARN_HOURS, REPLAYS = 25.0, 8

Adjust = Callable[[float, float, Severity], float]
"""Takes time, score and severity; returns the score to judge."""


@dataclass(slots=True)
class OwnHistory:
    """Lowers a score by how far the stream's usual log-odds lie above what is usual elsewhere; frozen while raised."""

    quantile: float
    most_up: float
    most_down: float
    usual: float
    _recent: list[tuple[float, float]] = field(default_factory=list)

    def __call__(self, at_s: float, score: float, severity: Severity) -> float:
        """Return the score to judge instead."""
        own = log_odds_of(score)
        adjusted = own
        if self._recent and at_s - self._recent[0][0] >= LEAST_HISTORY_S:
            level = float(np.quantile([value for _, value in self._recent], self.quantile))
            adjusted = own - min(max(level - self.usual, -self.most_down), self.most_up)
        if severity is Severity.NONE:
            self._recent.append((at_s, own))
            self._recent = [one for one in self._recent if at_s - one[0] <= HISTORY_S]
        return score_of(adjusted)


@dataclass(frozen=True, slots=True)
class Result:
    """Shares of violent passages that were raised soon, or already stood raised; false ones per hour of normal video."""

    soon: float
    before: float
    false_per_h: float


def watch(track: Track, rule: DetectionRule, sampling: Posture, adjust: Adjust | None) -> list[tuple[float, Severity]]:
    """Return when severity changed, and to what; suspicion is looked at closely, as live."""
    detector = Detector({LABEL: rule})
    ends_s = {posture: [window.end_s for window in windows] for posture, windows in track.windows.items()}
    changes: list[tuple[float, Severity]] = []
    now_s = -1.0
    while True:
        close = detector.suspicious or bool(detector.severities)
        posture = Posture.CLOSE if close else sampling
        number = bisect_right(ends_s[posture], now_s)
        if number == len(ends_s[posture]):
            return changes
        window = track.windows[posture][number]
        now_s, score = window.end_s, window.scores[LABEL]
        if adjust is not None:
            score = adjust(now_s, score, detector.severities.get(LABEL, Severity.NONE))
        changes += [(now_s, change.severity) for change in detector.observe(now_s, {LABEL: score})]


def measure(
    streams: Sequence[StitchedStream],
    threshold: float,
    sampling: Posture,
    *,
    act: float | None = None,
    make: Callable[[], Adjust] | None = None,
) -> Result:
    """Return how `review` at this threshold does; with `act`, how `act` at that one does."""
    wanted = Severity.REVIEW if act is None else Severity.ACT
    act_level = LevelRule(max(act or 1.0, threshold), ACT_HITS, ACT_OF)
    rule = DetectionRule(LevelRule(threshold, HITS, OF), act_level, CLEAR_RATIO, CLEAR_AFTER_S)
    soon = before = false = 0
    normal_h = 0.0
    for stream in streams:
        severity, standing, first_s = Severity.NONE, False, None
        for at_s, changed in watch(stream.track, rule, sampling, None if make is None else make()):
            if changed >= wanted > severity:
                if stream.onset_s < stream.end_s and stream.onset_s <= at_s <= stream.end_s + 1.0:
                    first_s = at_s if first_s is None else first_s
                else:
                    false += 1
            severity = changed
            if at_s < stream.onset_s:
                standing = severity >= wanted
        before += standing
        soon += not standing and first_s is not None and first_s - stream.onset_s <= SOON_S
        normal_h += (stream.track.length_s - stream.end_s + stream.onset_s) / 3600
    return Result(soon / len(streams), before / len(streams), false / normal_h)


def load_clips(data_dir: Path, cache: Path) -> list[LabelledTrack]:
    """Return every clip with the scores that the recipe's held-out models gave it, calibrated together."""
    runs = [sorted(folder.glob("*.npz")) for folder in cache.glob("live-*")]
    # Other runs, of other code or clips, may have left theirs: each clip counts once, by the scores of the last one.
    finished = [files for files in runs if len(files) == FOLDS]
    if not finished:
        raise click.UsageError("the cache holds no scores of held-out clips: run the recipe first")
    parts = [np.load(file) for file in max(finished, key=lambda files: files[-1].stat().st_mtime)]
    listed = list_clips(data_dir)
    windows = np.concatenate([part["windows"] for part in parts])
    clip_of = windows[:, 0].astype(int)
    logits = np.array([log_odds_of(score) for score in windows[:, 4]])
    violent = np.array([clip.violent for clip in listed])[clip_of]
    weights = 1 / np.bincount(clip_of)[clip_of]
    weights[violent] *= weights[~violent].sum() / weights[violent].sum()
    slope, offset = calibration(logits, violent, weights)
    scores = [score_of(logit * slope + offset) for logit in logits]
    clips = []
    for index, length_s in np.concatenate([part["lengths"] for part in parts]):
        clip = listed[int(index)]
        tracks = {
            posture: tuple(
                Window(float(windows[row, 2]), float(windows[row, 3]), {LABEL: scores[row]})
                for row in np.flatnonzero((clip_of == int(index)) & (windows[:, 1] == number))
            )
            for number, posture in enumerate(POSTURES)
        }
        clips.append(LabelledTrack(clip.path, clip.dataset, clip.group, clip.violent, Track(float(length_s), tracks)))
    return clips


def same_scene(clips: Sequence[LabelledTrack], rng: np.random.Generator) -> list[StitchedStream]:
    """Return streams whose ordinary minutes and whose violence are of one source: what own history is meant for.

    Half of the source's ordinary clips are played over and over for `HISTORY_S`, then the other half, then its violence.
    """
    of_group: dict[tuple[str, bool], list[LabelledTrack]] = defaultdict(list)
    for clip in clips:
        of_group[clip.group, clip.violent].append(clip)
    streams = []
    for group in sorted({group for group, violent in of_group if violent}):
        normal, violence = of_group[group, False], of_group[group, True]
        if len(normal) < 2 or sum(clip.track.length_s for clip in violence) < SOON_S:
            continue
        order = [normal[number] for number in rng.permutation(len(normal))]
        lead = order[len(order) // 2 :]
        while sum(clip.track.length_s for clip in lead) < HISTORY_S:
            lead = [order[number] for number in rng.integers(0, len(order) // 2, 8)] + lead
        onset_s = sum(clip.track.length_s for clip in lead)
        end_s = onset_s + sum(clip.track.length_s for clip in violence)
        streams.append(StitchedStream(join([clip.track for clip in (*lead, *violence)]), onset_s, end_s, ()))
    return streams


def count(clips: Sequence[LabelledTrack], sampling: Posture, rng: np.random.Generator) -> Tally:
    """Return what these clips' normal video teaches, replayed in random order and taken for `LEARN_HOURS`."""
    normal = [clip.track for clip in clips if not clip.violent]
    tally = Tally.empty()
    for _ in range(REPLAYS):
        track = join([normal[number] for number in rng.permutation(len(normal))])
        counter = EpisodeCounter(HITS, OF, CLEAR_RATIO, CLEAR_AFTER_S)
        raised = np.zeros_like(tally.episodes)
        for window in track.windows[sampling]:
            raised += counter.observe(window.end_s, window.scores[LABEL])
        tally += Tally(track.length_s / 3600, raised, np.zeros_like(raised))
    return Tally(LEARN_HOURS, tally.episodes * LEARN_HOURS / tally.hours, tally.doubtful)


def learn(tally: Tally, budget_per_h: float, default: float) -> float:
    """Return the threshold that fits the budget, within the bounds of a first one."""
    choice = choose(tally, budget_per_h)
    if choice is None:
        raise click.ClickException("too little normal video")
    return score_of(max(choice.log_odds, log_odds_of(default) - FIRST_FALL))


def ordinary(clips: Sequence[LabelledTrack]) -> list[StitchedStream]:
    """Return every group's ordinary clips as one stream without violence: all of the material, each second once.

    Stitching takes groups that hold no violence first, so its ordinary parts are easier than this.
    """
    of_group: dict[str, list[Track]] = defaultdict(list)
    for clip in clips:
        if not clip.violent:
            of_group[clip.group].append(clip.track)
    streams = [join(tracks) for _, tracks in sorted(of_group.items())]
    return [StitchedStream(track, track.length_s, track.length_s, ()) for track in streams]


def show_plain(
    streams: Sequence[StitchedStream], peaceful: Sequence[StitchedStream], review: float, act: float
) -> None:
    """Print fixed thresholds, `act` last."""
    click.echo("\n| watched | threshold | raised within 5 s | before | false per hour | of all ordinary clips |")
    click.echo("|---|---|---|---|---|---|")
    for sampling in POSTURES:
        for threshold in (0.6, 0.65, 0.7, review, 0.75, 0.8, 0.85, 0.9):
            found, calm = (measure(these, threshold, sampling) for these in (streams, peaceful))
            click.echo(f"| {sampling.value} | {threshold:.3f} | {_cells(found)} | {calm.false_per_h:.1f} |")
        for threshold in (act, 0.93):
            found, calm = (measure(these, review, sampling, act=threshold) for these in (streams, peaceful))
            click.echo(f"| {sampling.value} | act {threshold:.3f} | {_cells(found)} | {calm.false_per_h:.1f} |")


def show_learnt(clips: Sequence[LabelledTrack], review: float, seed: int) -> None:
    """Print what thresholds learnt from half of the sources do on the other half."""
    click.echo(
        "\n| watched | budget per hour | threshold (mean, range) | false per hour of the other half's ordinary clips | raised within 5 s |"
    )
    click.echo("|---|---|---|---|---|")
    rng = np.random.default_rng(seed)
    groups = sorted({clip.group for clip in clips})
    halves = []
    for number in range(8):
        first = set(rng.permutation(groups)[: len(groups) // 2].tolist())
        learnt_of = [clip for clip in clips if clip.group in first]
        judged = [clip for clip in clips if clip.group not in first]
        halves.append(
            (
                learnt_of,
                ordinary(judged),
                [one for deal in range(3) for one in stitch(judged, seed=100 * number + deal)],
            )
        )
    for sampling in POSTURES:
        tallies = [count(learnt_of, sampling, rng) for learnt_of, *_ in halves]
        for budget in (None, 40.0, 20.0, 10.0, 4.0):
            thresholds, soon, false = [], [], []
            for tally, (_, peaceful, streams) in zip(tallies, halves, strict=True):
                thresholds.append(review if budget is None else learn(tally, budget, review))
                soon.append(measure(streams, thresholds[-1], sampling).soon)
                false.append(measure(peaceful, thresholds[-1], sampling).false_per_h)
            low, high = min(thresholds), max(thresholds)
            click.echo(
                f"| {sampling.value} | {'fixed' if budget is None else f'{budget:g}'} | {np.mean(thresholds):.2f} ({low:.2f}-{high:.2f}) "
                f"| {np.mean(false):.0f} ({min(false):.0f}-{max(false):.0f}) | {np.mean(soon):.0%} |"
            )


def show_history(clips: Sequence[LabelledTrack], streams: Sequence[StitchedStream], seed: int) -> None:
    """Print plain thresholds beside own history, on streams of one scene and on those of several."""
    rng = np.random.default_rng(seed)
    scenes = [one for _ in range(4) for one in same_scene(clips, rng)]
    ways: dict[str, Callable[[], Adjust] | None] = {
        "plain": None,
        "median, lowers by 1": lambda: OwnHistory(0.5, 1.0, 0.0, -1.5),
        "median, lowers by 2": lambda: OwnHistory(0.5, 2.0, 0.0, -1.5),
        "median, lowers by 2, raises by 1": lambda: OwnHistory(0.5, 2.0, 1.0, -1.5),
        "upper quintile, lowers by 2": lambda: OwnHistory(0.8, 2.0, 0.0, -0.5),
    }
    click.echo(
        "\n| way | threshold | one scene: within 5 s | before | false per hour | many scenes: within 5 s | before | false per hour |"
    )
    click.echo("|---|---|---|---|---|---|---|---|")
    for name, make in ways.items():
        for threshold in (0.6, 0.7, 0.75, 0.8, 0.85):
            one, many = (measure(these, threshold, Posture.CLOSE, make=make) for these in (scenes, streams))
            click.echo(f"| {name} | {threshold} | {_cells(one)} | {_cells(many)} |")


def _cells(found: Result) -> str:
    return f"{found.soon:.0%} | {found.before:.0%} | {found.false_per_h:.1f}"


@click.command()
@click.argument("data_dir", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--cache", type=click.Path(path_type=Path), default=Path("build/training-cache"), show_default=True)
@click.option("--review", default=0.732, show_default=True, help="The shipped threshold.")
@click.option("--act", default=0.904, show_default=True, help="The shipped threshold.")
@click.option("--seed", default=0, show_default=True)
def main(data_dir: Path, cache: Path, review: float, act: float, seed: int) -> None:
    """Measure fixed thresholds, learnt ones, and own history on stitched streams, with cross-validated scores."""
    clips = load_clips(data_dir, cache)
    streams = [one for deal in range(SEEDS) for one in stitch(clips, seed=seed + deal)]
    click.echo(f"{len(clips)} clips, {len(streams)} streams")
    show_plain(streams, ordinary(clips), review, act)
    show_learnt(clips, review, seed)
    long = [one for deal in range(4) for one in stitch(clips, seed=seed + deal, lead_s=HISTORY_S)]
    show_history(clips, long, seed)


if __name__ == "__main__":
    main()
