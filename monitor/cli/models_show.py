"""A model package in words, for `livecordon models show`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from monitor.classify.manifest import Manifest, MeasuredRate, OperatingPoints


def describe(manifest: Manifest, folder: Path) -> Iterator[str]:
    """Yield the lines that people read."""
    clip = manifest.clip
    yield f"{manifest.name} {manifest.version}: {manifest.summary}"
    yield ""
    yield f"folder    {folder}"
    yield f"licence   {manifest.licence}"
    if manifest.remote is None:
        yield f"file      {manifest.file}"
        yield f"sha256    {manifest.sha256}"
    else:
        version = f" version {manifest.remote.version}" if manifest.remote.version else ""
        yield f"remote    {manifest.remote.protocol}, model {manifest.remote.model}{version}"
    for name, variant in manifest.variants.items():
        yield f"variant   {name}: {variant.file}, sha256 {variant.sha256}"
    frames = "1 frame" if clip.frames == 1 else f"{clip.frames} frames, {clip.spacing_s:g} s apart"
    combined = f", scored one by one ({clip.combine})" if clip.combine else ""
    yield f"clip      {frames}{combined}; {clip.width}x{clip.height}, {clip.fit}"
    for part in manifest.inputs:
        size = "" if part.size is None else f", {part.size.width}x{part.size.height}"
        colour = ", bgr" if part.colour == "bgr" else ""
        yield f"input     {part.name}: {part.kind}, {part.layout}, {part.dtype}{size}{colour}"
    for output in manifest.outputs:
        temperature = f", temperature {output.temperature:g}" if output.temperature != 1 else ""
        calibrated = f", calibrated: {', '.join(output.calibration)}" if output.calibration else ""
        labels = ", ".join(output.labels[:12]) + (
            f" and {len(output.labels) - 12} more" if len(output.labels) > 12 else ""
        )
        yield f"output    {output.name}: {labels}; {output.activation}{temperature}{calibrated}"
    for label in manifest.labels:
        yield ""
        yield from _points(label, manifest.operating_points[label])
    for title, text in (("trained on", manifest.training_data), ("limits", manifest.limits)):
        yield ""
        yield f"{title}: {text}"


def _points(label: str, points: OperatingPoints) -> Iterator[str]:
    yield f"{label}: review from {points.review:g}, act from {points.act:g}"
    yield f"  {points.rule}"
    if not points.measured:
        yield "  no rates were measured"
    for rate in points.measured:
        yield f"  {_rate(rate)}"


def _rate(rate: MeasuredRate) -> str:
    what = "recall" if rate.what == "recall" else "false alarms"
    share = f"{100 * rate.rate:.1f} % ({100 * rate.low:.1f} to {100 * rate.high:.1f})"
    return f"{rate.at:<6} {what:<12} {share:>24} of {rate.of}: {rate.on}"
