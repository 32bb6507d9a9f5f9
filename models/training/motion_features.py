"""What the model measures of motion, as ONNX nodes: training and serving run the very same graph.

Everything is relative: speeds in frame sizes per second, apart from the camera's own; shapes of distributions rather
than amounts; and what happens in the liveliest region, however small it is in the picture.
"""

from __future__ import annotations

import math

import numpy as np

from models.training.graph_builder import GraphBuilder
from models.training.velocity import (
    CELLS,
    COLUMNS,
    FRAMES,
    HEIGHT,
    PAIRS,
    ROWS,
    STILL,
    WIDTH,
    Velocity,
)


class MotionFeatures:
    """Adds the measurements to a graph; `names` and `columns` grow together."""

    def __init__(self, graph: GraphBuilder) -> None:
        self.graph = graph
        self.names: list[str] = []
        self.columns: list[str] = []
        g = graph
        self.luma = g.input("luma", "uint8", ["batch", FRAMES, HEIGHT, WIDTH])
        self.flow = g.input("flow", "float32", ["batch", PAIRS, HEIGHT, WIDTH, 2])
        self.gaps = g.input("gaps", "float32", ["batch", PAIRS])
        self.velocity = Velocity(graph, self.luma, self.flow, self.gaps)
        self.motion = self.velocity.motion
        self.speed = graph.length(self.motion, 2)
        self.total_speed = graph.sum(self.speed, [2])
        self._speed()
        self._directions()
        self._changes()
        self._shape()
        self._camera()
        self._brightness()
        for name, side, sharpness in (("region", 5, 4), ("spot", 3, 2)):
            self._liveliest(name, side, sharpness)
        self._coarse()

    def matrix(self) -> str:
        """Return all measurements, shape ``(batch, len(names))``."""
        return self.graph.op("Concat", *self.columns, axis=1)

    def _measure(self, name: str, value: str) -> None:
        """Keep a value of shape ``(batch,)``."""
        self.names.append(name)
        self.columns.append(self.graph.reshape(value, [-1, 1]))

    def _over_time(self, name: str, value: str) -> None:
        """Keep mean and spread of a value of shape ``(batch, pairs)``."""
        self._measure(name, self.graph.mean(value, [1]))
        self._measure(f"{name}_spread", self.graph.std(value, 1))

    def _speed(self) -> None:
        g = self.graph
        mean_speed = g.mean(self.speed, [2])
        self._over_time("speed", g.log(mean_speed, STILL))
        self._measure("speed_peak", g.log(g.max(mean_speed, [1]), STILL))
        ranked = g.ops("TopK", 2, self.speed, g.const([CELLS // 2 + 1], "int64"), axis=2)[0]
        for percent in (50, 75, 90, 97):
            rank = round((1 - percent / 100) * CELLS)
            at_rank = g.reshape(g.slice(ranked, 2, rank, rank + 1), [-1, PAIRS])
            self._over_time(f"speed_p{percent}", g.log(at_rank, STILL))
        squares = g.sum(g.mul(self.speed, self.speed), [2])
        share = g.div(g.mul(self.total_speed, self.total_speed), squares, floor=STILL**2 * CELLS)
        self._over_time("area", g.log(g.mul(share, g.const(1 / CELLS)), 0.01))

    def _directions(self) -> None:
        g = self.graph
        still = STILL * CELLS
        whole = g.length(g.sum(self.motion, [3]), 2)
        self._over_time("coherence", g.div(whole, self.total_speed, floor=still))
        image = g.reshape(self.motion, [-1, 2, ROWS, COLUMNS])
        speed_image = g.reshape(self.speed, [-1, 1, ROWS, COLUMNS])
        for side in (3, 7):
            pool = {"kernel_shape": [side, side], "strides": [1, 1]}
            vector = g.sum(g.length(g.op("AveragePool", image, **pool), 1), [1, 2])
            scalar = g.sum(g.op("AveragePool", speed_image, **pool), [1, 2, 3])
            self._over_time(f"coherence_{side}", g.reshape(g.div(vector, scalar, floor=still), [-1, PAIRS]))
        angles = np.arange(8) * math.pi / 4
        compass = g.const(np.stack([np.cos(angles), np.sin(angles)], axis=1))
        along = g.op("Relu", g.op("MatMul", compass, self.motion))
        unit = g.div(along, g.op("Unsqueeze", self.speed, g.const([2], "int64")), floor=STILL)
        sharp = g.mul(g.mul(unit, unit), along)
        histogram = g.sum(sharp, [3])
        self._over_time("direction_entropy", self._entropy(histogram, 2))
        self._measure("direction_entropy_whole", self._entropy(g.sum(histogram, [1]), 1))
        over_time = g.sum(sharp, [1])
        per_cell = self._entropy(over_time, 1)
        weight = g.sum(over_time, [1])
        self._measure(
            "direction_entropy_cell", g.div(g.sum(g.mul(per_cell, weight), [1]), g.sum(weight, [1]), floor=still)
        )

    def _entropy(self, amounts: str, axis: int) -> str:
        g = self.graph
        share = g.div(amounts, g.sum(amounts, [axis], keepdims=True), floor=STILL)
        return g.op("Neg", g.sum(g.mul(share, g.log(share, 1e-4)), [axis]))

    def _changes(self) -> None:
        g = self.graph
        mean_speed = g.mean(self.speed, [1, 2])
        change = self.motion
        for order, name in ((1, "acceleration"), (2, "jerk")):
            steps = PAIRS - order
            change = g.sub(g.slice(change, 1, 1, steps + 1), g.slice(change, 1, 0, steps))
            amount = g.length(change, 2)
            self._measure(name, g.log(g.mean(amount, [1, 2]), STILL))
            self._measure(f"{name}_relative", g.div(g.mean(amount, [1, 2]), mean_speed, floor=STILL))
            ranked = g.ops("TopK", 2, amount, g.const([CELLS // 20], "int64"), axis=2)[0]
            self._measure(f"{name}_top", g.log(g.mean(ranked, [1, 2]), STILL))
        for lag in (1, 2, 4):
            agreement = g.sum(self._lagged(self.motion, lag), [1, 2, 3])
            most = g.sum(self._lagged(self.speed, lag), [1, 2])
            self._measure(f"persistence_{lag}", g.div(agreement, most, floor=STILL**2 * CELLS * PAIRS))
        moved = g.length(g.sum(g.mul(self.motion, self.velocity.seconds), [1]), 1)
        path = g.sum(g.mul(self.speed, g.reshape(self.velocity.seconds, [-1, PAIRS, 1])), [1])
        self._measure("straightness", g.div(g.sum(moved, [1]), g.sum(path, [1]), floor=STILL * CELLS * 0.5))
        self._measure("flicker", g.div(g.std(self.total_speed, 1), g.mean(self.total_speed, [1]), floor=STILL * CELLS))

    def _shape(self) -> None:
        g = self.graph
        image = g.reshape(self.motion, [-1, PAIRS, 2, ROWS, COLUMNS])
        right = g.sub(g.slice(image, 4, 1, COLUMNS), g.slice(image, 4, 0, COLUMNS - 1))
        down = g.sub(g.slice(image, 3, 1, ROWS), g.slice(image, 3, 0, ROWS - 1))
        right, down = g.slice(right, 3, 0, ROWS - 1), g.slice(down, 4, 0, COLUMNS - 1)
        (du_dx, dv_dx), (du_dy, dv_dy) = ((g.slice(part, 2, 0, 1), g.slice(part, 2, 1, 2)) for part in (right, down))
        for name, value in (
            ("divergence", g.add(du_dx, dv_dy)),
            ("curl", g.sub(dv_dx, du_dy)),
            ("shear", g.add(g.op("Abs", g.sub(du_dx, dv_dy)), g.op("Abs", g.add(dv_dx, du_dy)))),
        ):
            amount = g.sum(g.op("Abs", value), [2, 3, 4])
            self._over_time(name, g.div(amount, self.total_speed, floor=STILL * CELLS))
        y, x = np.meshgrid(np.linspace(-1, 1, ROWS), np.linspace(-1, 1, COLUMNS), indexing="ij")
        weight = g.div(self.speed, g.op("Unsqueeze", self.total_speed, g.const([2], "int64")), floor=STILL * CELLS)
        moments = g.op("MatMul", weight, g.const(np.stack([x, y, x**2, y**2], axis=-1).reshape(CELLS, 4)))
        centre, square = g.slice(moments, 2, 0, 2), g.slice(moments, 2, 2, 4)
        variance = g.op("Relu", g.sum(g.sub(square, g.mul(centre, centre)), [2]))
        self._over_time("extent", g.op("Sqrt", variance))
        hop = g.length(g.sub(g.slice(centre, 1, 1, PAIRS), g.slice(centre, 1, 0, PAIRS - 1)), 2)
        self._measure("centre_hop", g.mean(hop, [1]))

    def _camera(self) -> None:
        g = self.graph
        shift = g.reshape(g.slice(self.velocity.camera, 3, 0, 1), [-1, PAIRS, 2])
        self._over_time("pan", g.log(g.length(shift, 2), STILL))
        jolt = g.length(g.sub(g.slice(shift, 1, 1, PAIRS), g.slice(shift, 1, 0, PAIRS - 1)), 2)
        self._measure("shake", g.log(g.mean(jolt, [1]), STILL))
        warp = g.length(g.reshape(g.slice(self.velocity.camera, 3, 1, 3), [-1, PAIRS, 4]), 2)
        self._over_time("warp", g.log(warp, STILL))
        raw_speed = g.sum(g.length(self.velocity.raw, 2), [2])
        self._over_time("own_motion", g.div(self.total_speed, raw_speed, floor=STILL * CELLS))
        self._over_time("inliers", self.velocity.inliers)
        self._over_time("texture", g.log(g.mean(self.velocity.texture, [2, 3]), 0.02))

    def _brightness(self) -> None:
        g = self.graph
        with_camera, blocks = self.velocity.differences()
        mean = g.mean(blocks, [2])
        self._over_time("change", g.log(mean, 0.05))
        jolt = g.op("Abs", g.sub(g.slice(blocks, 1, 1, PAIRS), g.slice(blocks, 1, 0, PAIRS - 1)))
        self._measure("change_jolt", g.div(g.mean(jolt, [1, 2]), g.mean(mean, [1]), floor=0.05))
        squares = g.mean(g.mul(blocks, blocks), [2])
        self._over_time("change_area", g.div(g.mul(mean, mean), squares, floor=0.0025))
        whole = g.mean(mean, [1])
        speed = g.mean(self.speed, [1, 2])
        self._measure("change_unexplained", g.log(g.div(whole, speed, floor=0.05), 0.05))
        self._measure("change_apart", g.log(g.div(whole, g.mean(with_camera, [1, 2]), floor=0.05), 0.05))

    def _liveliest(self, name: str, side: int, sharpness: int) -> None:
        """Measure where most moves: cells weigh by a power of the mean speed around them over the window."""
        g = self.graph
        speed = g.reshape(g.mean(self.speed, [1]), [-1, 1, ROWS, COLUMNS])
        pads = [side // 2] * 4
        weight = g.op("AveragePool", speed, kernel_shape=[side, side], strides=[1, 1], pads=pads, count_include_pad=1)
        weight = g.reshape(g.op("Pow", weight, g.const(float(sharpness))), [-1, CELLS])
        weight = g.div(weight, g.sum(weight, [1], keepdims=True), floor=4 * STILL**sharpness)
        each = g.op("Unsqueeze", weight, g.const([1], "int64"))
        vector = g.sum(g.mul(self.motion, g.op("Unsqueeze", each, g.const([2], "int64"))), [3])
        lively = g.sum(g.mul(self.speed, each), [2])
        mean = g.mean(lively, [1])
        self._over_time(f"{name}_speed", g.log(lively, STILL))
        self._over_time(f"{name}_coherence", g.div(g.length(vector, 2), lively, floor=STILL))
        change = self.motion
        for order, derivative in ((1, "acceleration"), (2, "jerk")):
            steps = PAIRS - order
            change = g.sub(g.slice(change, 1, 1, steps + 1), g.slice(change, 1, 0, steps))
            amount = g.mean(g.sum(g.mul(g.length(change, 2), each), [2]), [1])
            self._measure(f"{name}_{derivative}", g.div(amount, mean, floor=STILL))
        lurch = g.length(g.sub(g.slice(vector, 1, 1, PAIRS), g.slice(vector, 1, 0, PAIRS - 1)), 2)
        self._measure(f"{name}_lurch", g.div(g.mean(lurch, [1]), mean, floor=STILL))
        for lag in (1, 2, 4):
            agreement = g.mul(g.sum(self._lagged(self.motion, lag), [2]), each)
            most = g.sum(g.mul(self._lagged(self.speed, lag), each), [1, 2])
            self._measure(f"{name}_persistence_{lag}", g.div(g.sum(agreement, [1, 2]), most, floor=STILL**2 * PAIRS))
        self._measure(f"{name}_size", g.op("Neg", g.sum(g.mul(weight, g.log(weight, 1e-4)), [1])))

    def _coarse(self) -> None:
        """Changes of motion averaged over larger places: what limbs do cancels out, what bodies do stays."""
        g = self.graph
        image = g.reshape(self.motion, [-1, 2, ROWS, COLUMNS])
        for side in (2, 4):
            count = (ROWS // side) * (COLUMNS // side)
            coarse = g.op("AveragePool", image, kernel_shape=[side, side], strides=[side, side])
            coarse = g.reshape(coarse, [-1, PAIRS, 2, count])
            speed = g.length(coarse, 2)
            change = g.length(g.sub(g.slice(coarse, 1, 1, PAIRS), g.slice(coarse, 1, 0, PAIRS - 1)), 2)
            self._measure(
                f"coarse_{side}_acceleration", g.div(g.mean(change, [1, 2]), g.mean(speed, [1, 2]), floor=STILL)
            )
            agreement = g.sum(self._lagged(coarse, 2), [1, 2, 3])
            most = g.sum(self._lagged(speed, 2), [1, 2])
            self._measure(f"coarse_{side}_persistence", g.div(agreement, most, floor=STILL**2 * count))

    def _lagged(self, value: str, lag: int) -> str:
        """Return each pair's values times those of the pair `lag` later."""
        g = self.graph
        return g.mul(g.slice(value, 1, 0, PAIRS - lag), g.slice(value, 1, lag, PAIRS))
