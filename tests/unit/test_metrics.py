"""What every metric has in common: names that Prometheus's users expect, and labels that cannot grow."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import Any

from prometheus_client import Counter, Gauge, Histogram, Info

from monitor import metrics
from tests.fakes.checkout import ROOT

ALL: list[Any] = [one for one in vars(metrics).values() if isinstance(one, Counter | Gauge | Histogram | Info)]

# Words of closed lists, and what the configuration names. Whoever adds a label here says that nobody from outside can choose its values.
BOUNDED = {
    *(
        "acting",
        "answer",
        "area",
        "code",
        "decision",
        "freshness",
        "found",
        "group",
        "how",
        "kind",
        "operation",
        "outcome",
    ),
    *("reason", "role", "route", "severity", "shadow", "use", "via"),
    *("app", "label", "protocol", "receiver", "server", "state"),
}


def test_no_label_can_be_chosen_from_outside() -> None:
    labels = {label for one in ALL for label in one._labelnames}
    assert labels <= BOUNDED


def test_names_begin_alike_and_end_with_their_base_unit() -> None:
    for one in ALL:
        assert re.fullmatch(r"livecordon_[a-z][a-z0-9_]*[a-z0-9]", one._name)
        assert not re.search(r"_(ms|milliseconds|minutes|kb|mb|mib|percent)(_|$)", one._name), one._name
        assert one._documentation.endswith("."), one._name


def test_counting_begins_at_zero() -> None:
    # In a process of its own: other tests count, too.
    program = (
        "from prometheus_client import REGISTRY, generate_latest\n"
        "from monitor import metrics\n"
        "metrics.initialise(); metrics.initialise_labels(['fight'])\n"
        "print(generate_latest(REGISTRY).decode())\n"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    samples = dict(re.findall(r"^(livecordon_\S+) (\S+)$", done.stdout, re.MULTILINE))
    for sample in (
        'livecordon_effects_total{kind="cut",outcome="failed"}',
        'livecordon_effects_total{kind="hold",outcome="withdrawn"}',
        'livecordon_detections_total{label="fight",severity="act"}',
        'livecordon_score_count{label="fight"}',
        'livecordon_detection_to_contained_seconds_bucket{le="10.0",route="direct"}',
        'livecordon_onset_to_contained_seconds_count{route="waited"}',
        'livecordon_decision_to_contained_seconds_count{kind="hold"}',
        'livecordon_review_seconds_count{decision="dismiss"}',
        'livecordon_streams_withheld{how="contained"}',
        'livecordon_store_seconds_count{operation="write"}',
        'livecordon_watcher_restarts_total{reason="exit"}',
        'livecordon_gate_decisions_total{decision="error"}',
        'livecordon_clips_dropped_total{reason="overload"}',
    ):
        assert samples[sample] == "0.0", sample
    grown = {name for name, value in samples.items() if float(value) != 0 and "_created" not in name}
    assert grown == {"livecordon_build_info"}
