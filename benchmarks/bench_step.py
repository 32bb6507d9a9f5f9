"""How long one decision takes, and loading the protocols: ``python benchmarks/bench_step.py``.

Prints the best of several rounds; asserts nothing. A decision is never the slow part: the figure is here so that
somebody notices if it becomes one.
"""

from __future__ import annotations

import timeit
from collections.abc import Callable

from monitor.detect.persistence import DetectionRule, Detector, LevelRule
from monitor.incidents.library import load_protocols
from monitor.protocol.definition import Definition
from monitor.protocol.events import DetectionRaised, EffectFinished, Event, Reviewed, StreamReturned
from monitor.protocol.step import step
from monitor.shipped import protocols_dir
from monitor.vocabulary import EffectKind, EffectOutcome, ReviewDecision, Severity

ROUNDS = 5

INCIDENT: tuple[Event, ...] = (
    DetectionRaised("violence", Severity.REVIEW, 0.7),
    DetectionRaised("violence", Severity.ACT, 0.9),
    StreamReturned(),  # no transition
    Reviewed(ReviewDecision.CONFIRM, "somebody", "seen"),
    EffectFinished("3.1.cut", EffectKind.CUT, EffectOutcome.SUCCEEDED),
    Reviewed(ReviewDecision.DISMISS, "somebody", "a film"),
    EffectFinished("5.1.unblock", EffectKind.UNBLOCK, EffectOutcome.SUCCEEDED),
)


def best_s(work: Callable[[], object], number: int) -> float:
    """Return seconds per call, from the fastest of several rounds."""
    return min(timeit.repeat(work, number=number, repeat=ROUNDS)) / number


def main() -> None:
    """Measure and print."""
    definition = load_protocols(protocols_dir())["assisted"]

    def whole_incident() -> None:
        incident = None
        for event in INCIDENT:
            incident = step(definition, incident, event, 0.0).after

    rule = DetectionRule(LevelRule(0.5, 3, 5), LevelRule(0.8, 4, 6), clear_ratio=0.8, clear_after_s=10.0)
    detector = Detector({"violence": rule})
    times = iter(range(10**9))

    per_decision_s = best_s(whole_incident, 2000) / len(INCIDENT)
    per_clip_s = best_s(lambda: detector.observe(float(next(times)), {"violence": 0.45}), 20_000)
    text = definition.to_json()
    print(f"one decision            {per_decision_s * 1e6:8.1f} us  (mean over an incident of {len(INCIDENT)} events)")
    print(f"one clip into detection {per_clip_s * 1e6:8.1f} us")
    print(f"digest of a definition  {best_s(lambda: definition.digest, 200) * 1e6:8.1f} us")
    print(f"definition from JSON    {best_s(lambda: Definition.from_json(text), 200) * 1e6:8.1f} us")
    print(f"load, check all shipped {best_s(lambda: load_protocols(protocols_dir()), 5) * 1e3:8.1f} ms")


if __name__ == "__main__":
    main()
