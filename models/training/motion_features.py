"""What the model measures of motion, as ONNX nodes: training and serving run the very same graph.

Everything is relative: speeds in frame sizes per second, the camera's own motion taken out by a robust affine fit,
shapes of distributions rather than amounts. Scale, frame rate and lighting then matter as little as they can.
"""

from __future__ import annotations

import math

import numpy as np

from models.training.graph_builder import GraphBuilder

FRAMES = 8
WIDTH = 64
HEIGHT = 48
SPACING_S = 1 / 15
PAIRS = FRAMES - 1
CELL = 4
"""Flow is averaged over square cells of this many pixels."""
BLOCK = 4
"""Side in pixels of the blocks whose brightness is compared."""
ROWS, COLUMNS = HEIGHT // CELL, WIDTH // CELL
CELLS = ROWS * COLUMNS
FRAME_SIZE_PX = math.sqrt(WIDTH * HEIGHT)
SHORTEST_GAP_S = 1 / 120
STILL = 0.01
"""Frame sizes per second: below this speed, directions are noise."""


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
        self._velocity()
        self._speed()
        self._directions()
        self._changes()
        self._shape()
        self._camera()
        self._brightness()

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

    def _velocity(self) -> None:
        """Cell velocities ``(batch, pairs, 2, cells)``: raw, the camera's share, and what remains."""
        g = self.graph
        flow = g.reshape(self.flow, [-1, PAIRS, ROWS, CELL, COLUMNS, CELL * 2])
        flow = g.mean(flow, [3])
        flow = g.mean(g.reshape(flow, [-1, PAIRS, ROWS, COLUMNS, CELL, 2]), [4])
        flow = g.op("Transpose", flow, perm=[0, 1, 4, 2, 3])
        gaps = g.op("Max", self.gaps, g.const(SHORTEST_GAP_S))
        self.seconds = g.reshape(gaps, [-1, PAIRS, 1, 1])
        flow = g.reshape(flow, [-1, PAIRS, 2, CELLS])
        self.raw = g.div(flow, g.mul(self.seconds, g.const(FRAME_SIZE_PX)))
        y, x = np.meshgrid(np.linspace(-1, 1, ROWS), np.linspace(-1, 1, COLUMNS), indexing="ij")
        basis = np.stack([np.ones(CELLS), x.ravel(), y.ravel()])
        self._basis = g.const(basis)
        inverse = g.const(np.linalg.pinv(basis))
        coefficients = g.op("MatMul", self.raw, inverse)
        for _ in range(3):
            camera = g.op("MatMul", coefficients, self._basis)
            rest = g.sub(self.raw, camera)
            # Clipping the residual at its mean size keeps moving things from dragging the fit along.
            limit = g.mean(g.op("Abs", rest), [2, 3], keepdims=True)
            clipped = g.op("Max", g.op("Min", rest, limit), g.op("Neg", limit))
            coefficients = g.add(coefficients, g.op("MatMul", clipped, inverse))
        self.camera_coefficients = coefficients
        self.motion = g.sub(self.raw, g.op("MatMul", coefficients, self._basis))
        self.speed = g.length(self.motion, 2)
        self.total_speed = g.sum(self.speed, [2])

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
            motion_0, motion_1 = g.slice(self.motion, 1, 0, PAIRS - lag), g.slice(self.motion, 1, lag, PAIRS)
            speed_0, speed_1 = g.slice(self.speed, 1, 0, PAIRS - lag), g.slice(self.speed, 1, lag, PAIRS)
            agreement = g.sum(g.mul(motion_0, motion_1), [1, 2, 3])
            self._measure(
                f"persistence_{lag}",
                g.div(agreement, g.sum(g.mul(speed_0, speed_1), [1, 2]), floor=STILL**2 * CELLS * PAIRS),
            )
        moved = g.length(g.sum(g.mul(self.motion, self.seconds), [1]), 1)
        path = g.sum(g.mul(self.speed, g.reshape(self.seconds, [-1, PAIRS, 1])), [1])
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
        shift = g.reshape(g.slice(self.camera_coefficients, 3, 0, 1), [-1, PAIRS, 2])
        self._over_time("pan", g.log(g.length(shift, 2), STILL))
        jolt = g.length(g.sub(g.slice(shift, 1, 1, PAIRS), g.slice(shift, 1, 0, PAIRS - 1)), 2)
        self._measure("shake", g.log(g.mean(jolt, [1]), STILL))
        warp = g.length(g.reshape(g.slice(self.camera_coefficients, 3, 1, 3), [-1, PAIRS, 4]), 2)
        self._over_time("warp", g.log(warp, STILL))
        raw_speed = g.sum(g.length(self.raw, 2), [2])
        self._over_time("own_motion", g.div(self.total_speed, raw_speed, floor=STILL * CELLS))

    def _brightness(self) -> None:
        """Differences of blocks, per second and relative to the picture's contrast."""
        g = self.graph
        luma = g.reshape(g.op("Cast", self.luma, to=1), [-1, FRAMES, HEIGHT, WIDTH])
        deviation = g.op("Abs", g.sub(luma, g.mean(luma, [2, 3], keepdims=True)))
        contrast = g.add(g.mean(deviation, [1, 2, 3], keepdims=True), g.const(8.0))
        difference = g.op("Abs", g.sub(g.slice(luma, 1, 1, FRAMES), g.slice(luma, 1, 0, PAIRS)))
        blocks = g.op("AveragePool", difference, kernel_shape=[BLOCK, BLOCK], strides=[BLOCK, BLOCK])
        blocks = g.div(g.div(blocks, contrast), self.seconds)
        count = (HEIGHT // BLOCK) * (WIDTH // BLOCK)
        blocks = g.reshape(blocks, [-1, PAIRS, count])
        mean = g.mean(blocks, [2])
        self._over_time("change", g.log(mean, 0.05))
        change = g.op("Abs", g.sub(g.slice(blocks, 1, 1, PAIRS), g.slice(blocks, 1, 0, PAIRS - 1)))
        self._measure("change_jolt", g.div(g.mean(change, [1, 2]), g.mean(mean, [1]), floor=0.05))
        squares = g.mean(g.mul(blocks, blocks), [2])
        self._over_time("change_area", g.div(g.mul(mean, mean), squares, floor=0.0025))
        speed = g.mean(self.speed, [1, 2])
        self._measure("change_unexplained", g.log(g.div(g.mean(mean, [1]), speed, floor=0.05), 0.05))
