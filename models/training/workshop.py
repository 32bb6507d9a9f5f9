"""Finished steps on disk: work that was interrupted goes on where it stopped, and what changed is done anew."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from rich.progress import track

Arrays = dict[str, NDArray[Any]]

CODE = Path(__file__).parent
PREPARATION = CODE.parents[1] / "monitor/classify/preparation.py"


def fingerprint(files: Sequence[str], *facts: object) -> str:
    """Return a short name for what a step depends on: modules of the recipe, the daemon's preparation, and `facts`."""
    digest = hashlib.sha256(repr((facts, cv2.__version__, np.__version__)).encode())
    for path in (*(CODE / name for name in files), PREPARATION):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


class Workshop:
    """Does steps in as many processes as the machine has cores, each one's arrays kept in a file of its own.

    Attributes:
        folder: Where results are kept. A file is there as a whole or not at all.
        cpu_s: CPU seconds behind all results asked for, of this run and of those it took up again.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.cpu_s = 0.0

    def do(self, name: str, step: Callable[..., Arrays], tasks: Sequence[tuple[Any, ...]], about: str) -> list[Arrays]:
        """Return ``step(*task)`` for each of `tasks`, in order; those that `folder` holds already are not done again.

        Args:
            name: Folder of this step's results; it must change when the step does (`fingerprint`).
            step: A module's function; its result depends on the task alone.
            tasks: Arguments.
            about: Shown beside the progress.
        """
        folder = self.folder / name
        folder.mkdir(parents=True, exist_ok=True)
        paths = [folder / f"{number:05d}.npz" for number in range(len(tasks))]
        todo = [number for number, path in enumerate(paths) if not path.exists()]
        # Read when the processes load their libraries: each uses one core, so that sums are made in the same order.
        os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"))
        # Forked processes would share OpenCV's and BLAS's threads in whatever state they are.
        with ProcessPoolExecutor(os.cpu_count(), get_context("spawn"), initializer=_one_thread) as pool:
            waiting = {pool.submit(_kept, step, tasks[number], paths[number]) for number in todo}
            for done in track(as_completed(waiting), about, total=len(waiting)):
                done.result()
        results = [_read(path) for path in paths]
        self.cpu_s += sum(float(result.pop("cpu_s")) for result in results)
        return results

    def note(self, name: str, facts: dict[str, Any]) -> None:
        """Keep `facts` beside the results, for people."""
        (self.folder / name).write_text(json.dumps(facts, indent=1))


def _one_thread() -> None:
    cv2.setNumThreads(1)


def _kept(step: Callable[..., Arrays], task: tuple[Any, ...], path: Path) -> None:
    began_s = time.process_time()
    arrays = step(*task)
    partial = path.with_suffix(".part")
    with partial.open("wb") as file:
        np.savez(file, **arrays, cpu_s=np.array(time.process_time() - began_s))  # type: ignore[arg-type] # names are ours
    partial.replace(path)


def _read(path: Path) -> Arrays:
    with np.load(path) as arrays:
        return dict(arrays)
