from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from monitor.classify.adaptation import FedFrom, adapted, why_clips_do_not_do
from monitor.classify.onnx_classifier import OnnxClassifier
from monitor.classify.package import load_package
from monitor.video.clip import ClipSpec
from tests.fakes import model_packages as toys

SOURCE = ClipSpec(8, 0.1, 64, 48)


@pytest.mark.parametrize(
    ("wanted", "why"),
    [
        (SOURCE, ""),
        (ClipSpec(4, 0.2, 32, 24), ""),
        (ClipSpec(1, 5.0, 64, 48), ""),
        (ClipSpec(9, 0.1, 64, 48), "m@1 wants 9 frames 0.1 s apart, which clips of 8 frames 0.1 s apart do not hold"),
        (ClipSpec(4, 0.05, 64, 48), "m@1 wants 4 frames 0.05 s apart, which clips of 8 frames 0.1 s apart do not hold"),
        (ClipSpec(8, 0.1, 65, 48), "m@1 wants larger pictures than clips of 64x48 hold"),
        (ClipSpec(8, 0.1, 64, 48, "crop"), "m@1 wants pictures brought to size by crop, and the clips are by stretch"),
    ],
)
def test_what_cannot_be_made_from_a_clip_is_named(wanted: ClipSpec, why: str) -> None:
    assert why_clips_do_not_do("m@1", wanted, SOURCE) == why


def test_it_gets_the_newest_frames_at_its_own_spacing_and_size() -> None:
    frames = np.stack([np.full((48, 64, 3), 10 * number, np.uint8) for number in range(8)])
    clip = toys.make_clip(frames)
    given = adapted(clip, SOURCE, ClipSpec(3, 0.2, 32, 24))
    assert given.frames.shape == (3, 24, 32, 3)
    assert given.frames[:, 0, 0, 0].tolist() == [30, 50, 70]
    assert given.times_s == pytest.approx((0.3, 0.5, 0.7))
    assert given.arrived_at == clip.arrived_at
    assert adapted(clip, SOURCE, SOURCE) is clip


def test_a_model_fed_so_scores_as_it_does_by_itself(tmp_path: Path) -> None:
    model = OnnxClassifier(load_package(toys.write_motion_package(tmp_path / "toy")))
    fed = FedFrom(model, ClipSpec(8, 0.05, 64, 48))
    frames = np.stack([np.full((48, 64, 3), level, np.uint8) for level in (0, 9, 0, 51, 0, 51, 0, 102)])
    by_itself = model.classify([toys.make_clip(toys.grey_frames(9, 51, 51, 102))])
    np.testing.assert_allclose(fed.classify([toys.make_clip(frames, 0.05)]), by_itself, atol=1e-6)
    assert (fed.name, fed.labels) == (model.name, model.labels)
