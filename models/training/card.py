"""Writes MODEL_CARD.md from the measured numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

CARD = """\
# violent-motion

{summary}

It looks at eight frames over half a second, 64 x 48 pixels, grey, and at Farneback's optical flow between them. It takes
the camera's own motion out, measures how fast, how erratic, how many-directed and how concentrated the rest is, and turns
those 56 numbers into a probability with three small neural networks. It knows nothing of faces, bodies, places, sound or words, and keeps no pictures.

## Use

For raising a person's attention on live streams, over several clips (`detect`), relative to a stream's own history.
{limits}

## Data

{training_data}

None of these clips is part of this repository. Clips listed as `active-eval` were used for evaluation only.

## Results

Five folds; all clips of one source video are in the same fold. Scores are those of models that saw nothing of the fold.
Intervals are 95 %, from resampling source videos. Clips are re-encoded public video, at most 360 pixels high.

| AUC | value (95 % interval) |
|---|---|
{auc}

| share of half-second windows at or above | {names} |
|---|{rules}|
{rates}

Thresholds were chosen on these same cross-validated scores: {rule}
They do not carry over to other material. Fights here are on fixed surveillance cameras; recall on film, sport, hand-held
or first-person video is not known from this data.

The network was chosen among nine heads on the same folds, which flatters these numbers by a per cent or two of AUC
(docs/model-experiments.md).

## Probability

Log-odds are calibrated (Platt) on cross-validated scores where fights and normal clips are equally likely. On a real
stream fights are far rarer, so a score of 0.9 is no 90 % chance of a fight.

## Making it again

    pip install -e ".[train]"
    python models/training/train.py DATA_DIR
"""


def write_card(folder: Path, results: dict[str, Any], facts: dict[str, Any]) -> None:
    """Write the card beside the manifest."""
    points = results["points"]
    kinds = next(iter(points.values()))["rates"]
    rates = [
        f"| {kind} | " + " | ".join(_percent(point["rates"][kind]) for point in points.values()) + " |"
        for kind in kinds
    ]
    text = CARD.format(
        summary=facts["summary"],
        limits=facts["limits"],
        training_data=facts["training_data"],
        auc="\n".join(f"| {name} | {value} |" for name, value in results["auc"].items()),
        names=" | ".join(f"`{name}` ({point['threshold']})" for name, point in points.items()),
        rules="|".join("---" for _ in points),
        rates="\n".join(rates),
        rule=facts["rule"],
    )
    (folder / "MODEL_CARD.md").write_text(text)


def _percent(rate: Any) -> str:
    return f"{rate.value:.1%} ({rate.low:.0%}-{rate.high:.0%})"
