"""From optical flow to how fast things move, apart from the camera, as ONNX nodes.

Speeds are in frame sizes per second. A robust affine fit, in which textured places count and moving things do not,
takes out the camera's pan, shake, zoom and roll. Pictures that a stream repeats are passed over: what moved between
two different pictures took the whole time between them.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from models.training.graph_builder import GraphBuilder

FRAMES = 8
WIDTH = 64
HEIGHT = 48
SPACING_S = 1 / 15
PAIRS = FRAMES - 1
CELL = 4
"""Everything is averaged over square cells of this many pixels."""
ROWS, COLUMNS = HEIGHT // CELL, WIDTH // CELL
CELLS = ROWS * COLUMNS
FRAME_SIZE_PX = math.sqrt(WIDTH * HEIGHT)
SHORTEST_GAP_S = 1 / 120
STILL = 0.01
"""Frame sizes per second: below this speed, directions are noise."""
SAME_PICTURE = 0.1
"""A picture that differs from the one before by less than this share of the window's largest difference repeats it."""
FAINT = 4.0
"""Grey levels per pixel: gradients much below this say nothing of motion, those much above say all."""
FITS = 5


class Velocity:
    """Adds the nodes to a graph.

    Attributes:
        motion: ``(batch, pairs, 2, cells)``: velocity apart from the camera's, faded where there is no texture.
        raw: The same shape: velocity as it is.
        seconds: ``(batch, pairs, 1, 1)``: time between the two pictures.
        camera: ``(batch, pairs, 2, 3)``: the camera's velocity as coefficients of 1, x, y, each from -1 to 1.
        inliers: ``(batch, pairs)``: share of texture that moves with the camera.
        texture: ``(batch, pairs, 1, cells)``: from 0, none, to 1.
        luma: float, ``(batch, frames, height, width)``.
    """

    def __init__(self, graph: GraphBuilder, luma: str, flow: str, gaps: str) -> None:
        self._graph = g = graph
        self.luma = g.reshape(g.op("Cast", luma, to=1), [-1, FRAMES, HEIGHT, WIDTH])
        self.before, self.after = g.slice(self.luma, 1, 0, PAIRS), g.slice(self.luma, 1, 1, FRAMES)
        self._find_repeats(gaps)
        self.texture = self._texture()
        raw = g.div(self._cells(flow), g.mul(self._seconds, g.const(FRAME_SIZE_PX)))
        self._camera, apart, self.inliers = self._fit(raw)
        self.raw = self.fresh(raw)
        self.camera = self.fresh(self._camera)
        self.motion = self.fresh(g.mul(apart, self.texture))
        self.seconds = self.fresh(self._seconds)

    def fresh(self, value: str) -> str:
        """Return ``(batch, pairs, …)`` with the values of repeated pictures replaced by those of the pair before."""
        g = self._graph
        shape = g.op("Shape", value)
        return g.op("Reshape", g.op("MatMul", self._source, g.reshape(value, [0, PAIRS, -1])), shape)

    def differences(self) -> tuple[str, str]:
        """Return ``(batch, pairs, cells)``: how much brightness differs per second, with the camera's motion and without.

        Relative to the window's contrast. Without: the later picture is warped back by what the camera moved.
        """
        g = self._graph
        deviation = g.op("Abs", g.sub(self.luma, g.mean(self.luma, [2, 3], keepdims=True)))
        contrast = g.add(g.mean(deviation, [1, 2, 3], keepdims=True), g.const(8.0))
        per_second = g.mul(contrast, self._seconds)
        y, x = np.meshgrid(_centres(HEIGHT), _centres(WIDTH), indexing="ij")
        # The fit's coordinates reach 1 at the middle of the last cell, pictures' at the edge.
        basis = np.stack([np.ones(x.size), x.ravel() * COLUMNS / (COLUMNS - 1), y.ravel() * ROWS / (ROWS - 1)])
        moved = g.mul(g.op("MatMul", self._camera, g.const(basis)), g.mul(self._seconds, g.const(FRAME_SIZE_PX)))
        in_pictures = g.const(np.array([[2 / WIDTH], [2 / HEIGHT]]))
        seen_at = g.add(g.mul(moved, in_pictures), g.const(np.stack([x.ravel(), y.ravel()])))
        inside = g.op("Cast", g.op("LessOrEqual", g.max(g.op("Abs", seen_at), [2]), g.const(1.0)), to=1)
        places = g.reshape(g.op("Transpose", seen_at, perm=[0, 1, 3, 2]), [-1, HEIGHT, WIDTH, 2])
        later = g.reshape(self.after, [-1, 1, HEIGHT, WIDTH])
        warped = g.op("GridSample", later, places, mode="bilinear", padding_mode="border", align_corners=0)
        warped = g.reshape(warped, [-1, PAIRS, HEIGHT, WIDTH])
        without = g.op("Abs", g.sub(warped, self.before))
        without = g.mul(without, g.reshape(inside, [-1, PAIRS, HEIGHT, WIDTH]))
        with_camera = g.op("Abs", g.sub(self.after, self.before))
        with_, without = (
            self.fresh(g.reshape(g.div(self._pooled(value), per_second), [-1, PAIRS, CELLS]))
            for value in (with_camera, without)
        )
        return with_, without

    def _find_repeats(self, gaps: str) -> None:
        g = self._graph
        difference = g.mean(g.op("Abs", g.sub(self.after, self.before)), [2, 3])
        largest = g.max(difference, [1], keepdims=True)
        differs = g.op("Greater", difference, g.mul(largest, g.const(SAME_PICTURE)))
        new = g.op("And", differs, g.op("Greater", gaps, g.const(0.002)))
        repeated = g.sub(g.const(1.0), g.op("Cast", new, to=1))
        is_new = [g.slice(new, 1, pair, pair + 1) for pair in range(PAIRS)]
        since = [g.slice(gaps, 1, 0, 1)]
        for pair in range(1, PAIRS):
            before = g.mul(since[-1], g.slice(repeated, 1, pair - 1, pair))
            since.append(g.add(g.slice(gaps, 1, pair, pair + 1), before))
        seconds = g.op("Max", g.op("Concat", *since, axis=1), g.const(SHORTEST_GAP_S))
        self._seconds = g.reshape(seconds, [-1, PAIRS, 1, 1])
        # Row by row which pair's values to take: the pair's own, else those of the last new one, else of the next.
        rows = [g.const(np.eye(PAIRS)[[pair]]) for pair in range(PAIRS)]
        any_before = is_new[0]
        seen = [any_before]
        for pair in range(1, PAIRS):
            rows[pair] = g.op("Where", is_new[pair], rows[pair], rows[pair - 1])
            any_before = g.op("Or", any_before, is_new[pair])
            seen.append(any_before)
        for pair in range(PAIRS - 2, -1, -1):
            rows[pair] = g.op("Where", seen[pair], rows[pair], rows[pair + 1])
        # The last pair's row has the batch's extent whatever happens; the others get it from their conditions.
        self._source = g.op("Concat", *(g.reshape(row, [-1, 1, PAIRS]) for row in rows), axis=1)

    def _texture(self) -> str:
        g = self._graph
        right = g.sub(g.slice(self.luma, 3, 2, WIDTH), g.slice(self.luma, 3, 0, WIDTH - 2))
        down = g.sub(g.slice(self.luma, 2, 2, HEIGHT), g.slice(self.luma, 2, 0, HEIGHT - 2))
        right = g.op("Pad", g.mul(right, right), g.const([0, 0, 0, 1, 0, 0, 0, 1], "int64"))
        down = g.op("Pad", g.mul(down, down), g.const([0, 0, 1, 0, 0, 0, 1, 0], "int64"))
        energy = self._pooled(g.mul(g.add(right, down), g.const(0.25)))
        energy = g.mul(g.add(g.slice(energy, 1, 0, PAIRS), g.slice(energy, 1, 1, FRAMES)), g.const(0.5))
        return g.reshape(g.div(energy, g.add(energy, g.const(FAINT**2))), [-1, PAIRS, 1, CELLS])

    def _cells(self, flow: str) -> str:
        g = self._graph
        flow = g.reshape(flow, [-1, PAIRS, ROWS, CELL, COLUMNS, CELL * 2])
        flow = g.reshape(g.mean(flow, [3]), [-1, PAIRS, ROWS, COLUMNS, CELL, 2])
        flow = g.op("Transpose", g.mean(flow, [4]), perm=[0, 1, 4, 2, 3])
        return g.reshape(flow, [-1, PAIRS, 2, CELLS])

    def _fit(self, raw: str) -> tuple[str, str, str]:
        """Return the camera's coefficients, what moves apart from it, and the share that does not."""
        g = self._graph
        y, x = np.meshgrid(np.linspace(-1, 1, ROWS), np.linspace(-1, 1, COLUMNS), indexing="ij")
        basis = np.stack([np.ones(CELLS), x.ravel(), y.ravel()])
        pairs = np.stack([basis[i] * basis[j] for i, j in ((0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2))], axis=1)
        evidence = g.add(self.texture, g.const(0.02))
        total = g.sum(evidence, [3], keepdims=True)
        weight, coefficients, apart = evidence, "", ""
        for fit in range(FITS):
            sums = g.reshape(g.op("MatMul", weight, g.const(pairs)), [-1, PAIRS, 6])
            coefficients = self._solve(sums, g.op("MatMul", g.mul(weight, raw), g.const(basis.T)))
            apart = g.sub(raw, g.op("MatMul", coefficients, g.const(basis)))
            if fit == FITS - 1:
                break
            distance = g.length(apart, 2, keepdims=True)
            typical = g.div(g.sum(g.mul(evidence, distance), [3], keepdims=True), total)
            # Stricter once the fit is near: half the squared distance of what moves on average.
            allowed = g.add(g.mul(g.mul(typical, typical), g.const(1.0 if fit < 2 else 0.5)), g.const(STILL**2))
            belongs = g.div(allowed, g.add(allowed, g.mul(distance, distance)))
            weight = g.mul(evidence, g.mul(belongs, belongs))
        return coefficients, apart, g.div(g.sum(weight, [2, 3]), g.sum(evidence, [2, 3]))

    def _solve(self, sums: str, right: str) -> str:
        """Return ``right`` times the inverse of the symmetric 3 x 3 matrix whose upper triangle `sums` holds."""
        g = self._graph
        ridge = g.const(np.array([0, 0, 0, 1e-3, 0, 1e-3]))
        sums = g.add(sums, g.mul(g.slice(sums, 2, 0, 1), ridge))

        def pick(value: str, columns: list[int]) -> str:
            return g.op("Gather", value, g.const(columns, "int64"), axis=2)

        # Upper triangle of the adjugate, entries counted as in `sums`: 00, 01, 02, 11, 12, 22.
        adjugate = g.sub(
            g.mul(pick(sums, [3, 2, 1, 0, 1, 0]), pick(sums, [5, 4, 4, 5, 2, 3])),
            g.mul(pick(sums, [4, 1, 2, 2, 0, 1]), pick(sums, [4, 5, 3, 2, 4, 1])),
        )
        determinant = g.sum(g.mul(g.slice(sums, 2, 0, 3), g.slice(adjugate, 2, 0, 3)), [2], keepdims=True)
        inverse = g.div(pick(adjugate, [0, 1, 2, 1, 3, 4, 2, 4, 5]), determinant, floor=1e-9)
        return g.op("MatMul", right, g.reshape(inverse, [-1, PAIRS, 3, 3]))

    def _pooled(self, pictures: str) -> str:
        return self._graph.op("AveragePool", pictures, kernel_shape=[CELL, CELL], strides=[CELL, CELL])


def _centres(count: int) -> NDArray[np.float64]:
    """Return where pixels' middles lie between -1 and 1, the picture's edges."""
    return (np.arange(count) + 0.5) / count * 2 - 1
