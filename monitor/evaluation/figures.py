"""What the clips of one set, or of all, come to."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from monitor.detect.persistence import DetectionRule
from monitor.evaluation.judging import judge
from monitor.evaluation.metrics import RESAMPLES, Floats, GroupBootstrap, Interval, average_precision, roc_auc, share
from monitor.evaluation.scoring import join
from monitor.evaluation.stitching import LabelledTrack
from monitor.protocol.definition import Definition
from monitor.vocabulary import Posture

_HOUR_S = 3600.0

_Weighted = Callable[[Floats | None], float | None]


@dataclass(frozen=True, slots=True)
class Method:
    """How clips are judged.

    Attributes:
        label: The label whose scores stand for violence.
        rules: When detections rise and fall, per label of the model.
        asking: The protocol under which reviews are counted.
        cutting: The protocol under which cuts are counted.
        sampling: The posture in which streams are watched at least.
        resamples, seed: Of bootstrap and stitching.
    """

    label: str
    rules: Mapping[str, DetectionRule]
    asking: Definition
    cutting: Definition
    sampling: Posture
    resamples: int = RESAMPLES
    seed: int = 0

    @property
    def review(self) -> float:
        """The lower operating point."""
        return self.rules[self.label].review.threshold

    @property
    def act(self) -> float:
        """The upper operating point."""
        return self.rules[self.label].act.threshold


@dataclass(frozen=True, slots=True)
class Measured:
    """A number, None where the clips say nothing of it, and its 95 % interval, None where groups are too few for one."""

    value: float | None
    interval: Interval | None


@dataclass(frozen=True, slots=True)
class Figures:
    """What one set of clips comes to.

    A clip's score is the mean over its windows. Recall and false alarms of clips and windows are without persistence;
    reviews and cuts are with it, in a stream for each group of normal clips, one clip after the other.

    Attributes:
        clips, violent: How many clips, and how many of them are violent.
        groups, ungrouped: How many groups, and how many clips came without one and so are one each.
        windows: How many inferences.
        normal_hours: Length of the normal clips.
        normal_streams: Streams made of them.
        short_streams: Those among them with fewer windows than `act` needs hits, which nothing can cut.
        auc, average_precision: Of clip scores.
        auc_of_max: As `auc`, with a clip's highest window instead of the mean.
        recall_review, recall_act: Share of violent clips whose score reaches the operating point.
        false_review_share, false_act_share: The same of normal clips.
        windows_review, windows_act: Share of windows that reach it, of violent and of normal clips.
        false_reviews, false_cuts: How often a responder was asked, and how often somebody was cut off, for nothing.
        false_reviews_per_hour, false_cuts_per_hour: The same per hour of normal video.
    """

    clips: int
    violent: int
    groups: int
    ungrouped: int
    windows: int
    normal_hours: float
    normal_streams: int
    short_streams: int
    auc: Measured
    average_precision: Measured
    auc_of_max: Measured
    recall_review: Measured
    recall_act: Measured
    false_review_share: float | None
    false_act_share: float | None
    windows_review: tuple[float | None, float | None]
    windows_act: tuple[float | None, float | None]
    false_reviews: int
    false_cuts: int
    false_reviews_per_hour: Measured
    false_cuts_per_hour: Measured


def clip_scores(clips: Sequence[LabelledTrack], method: Method) -> Floats:
    """Return each clip's score: the mean over its windows; float64, shape ``(clips,)``."""
    return np.array([np.mean(_window_scores(clip, method)) for clip in clips], np.float64)


def figures(clips: Sequence[LabelledTrack], method: Method, *, ungrouped: int = 0) -> Figures:
    """Judge a set of clips.

    Args:
        clips: At least one.
        method: How.
        ungrouped: How many of them came without a group; only passed on.
    """
    windows = [_window_scores(clip, method) for clip in clips]
    scores = clip_scores(clips, method)
    highest = np.array([max(found) for found in windows])
    violent = np.array([clip.violent for clip in clips])
    bootstrap = GroupBootstrap([clip.group for clip in clips], resamples=method.resamples, seed=method.seed)

    def measured(measure: _Weighted) -> Measured:
        value = measure(None)
        return Measured(value, None if value is None else bootstrap.interval(measure))

    def recall(threshold: float) -> Measured:
        reached = scores >= threshold
        return Measured(share(reached, violent), bootstrap.share_interval(reached, violent))

    flat = np.concatenate([np.asarray(found) for found in windows])
    flat_violent = np.repeat(violent, [len(found) for found in windows])
    by_kind = [
        (share(flat >= threshold, flat_violent), share(flat >= threshold, ~flat_violent))
        for threshold in (method.review, method.act)
    ]
    alarms = _FalseAlarms.count(clips, method)
    return Figures(
        clips=len(clips),
        violent=int(violent.sum()),
        groups=bootstrap.groups,
        ungrouped=ungrouped,
        windows=len(flat),
        normal_hours=float(alarms.hours.sum()),
        normal_streams=len(alarms.groups),
        short_streams=alarms.short,
        auc=measured(lambda weights: roc_auc(scores, violent, weights)),
        average_precision=measured(lambda weights: average_precision(scores, violent, weights)),
        auc_of_max=measured(lambda weights: roc_auc(highest, violent, weights)),
        recall_review=recall(method.review),
        recall_act=recall(method.act),
        false_review_share=share(scores >= method.review, ~violent),
        false_act_share=share(scores >= method.act, ~violent),
        windows_review=by_kind[0],
        windows_act=by_kind[1],
        false_reviews=int(alarms.reviews.sum()),
        false_cuts=int(alarms.cuts.sum()),
        false_reviews_per_hour=alarms.per_hour(alarms.reviews, method),
        false_cuts_per_hour=alarms.per_hour(alarms.cuts, method),
    )


@dataclass(frozen=True, slots=True, eq=False)
class _FalseAlarms:
    """Per group of normal clips, played as one stream: its length, and how often it raised a false alarm."""

    groups: tuple[str, ...]
    hours: Floats
    reviews: Floats
    cuts: Floats
    short: int

    @classmethod
    def count(cls, clips: Sequence[LabelledTrack], method: Method) -> _FalseAlarms:
        by_group: dict[str, list[LabelledTrack]] = {}
        for clip in sorted(clips, key=lambda clip: clip.name):
            if not clip.violent:
                by_group.setdefault(clip.group, []).append(clip)
        hours, reviews, cuts = [], [], []
        short = 0
        for members in by_group.values():
            stream = join([clip.track for clip in members])
            asked = judge(stream, method.asking, method.rules, sampling=method.sampling, dismiss_reviews=True)
            cut = judge(stream, method.cutting, method.rules, sampling=method.sampling, dismiss_reviews=False)
            most = max(len(windows) for windows in stream.windows.values())
            short += most < method.rules[method.label].act.hits
            hours.append(stream.length_s / _HOUR_S)
            reviews.append(float(len(asked.reviews_s)))
            cuts.append(float(len(cut.cuts_s)))
        return cls(tuple(by_group), np.array(hours), np.array(reviews), np.array(cuts), short)

    def per_hour(self, counts: Floats, method: Method) -> Measured:
        total = float(self.hours.sum())
        if total <= 0:
            return Measured(None, None)
        bootstrap = GroupBootstrap(self.groups, resamples=method.resamples, seed=method.seed)
        return Measured(float(counts.sum()) / total, bootstrap.rate_interval(counts, self.hours))


def _window_scores(clip: LabelledTrack, method: Method) -> list[float]:
    return [window.scores[method.label] for window in clip.track.windows[method.sampling]]
