"""Shared memory between one watcher and the classifier: a few slots, each with the prepared arrays of one clip.

The classifier makes the memory, seals its size and hands it to one watcher: nobody else can map it, nobody can shrink it
under somebody who reads, and it is gone with the last of the two, whatever ended them. It has no name and so leaves
nothing behind in `/dev/shm`.
"""

from __future__ import annotations

import fcntl
import hashlib
import mmap
import os
import sys
from dataclasses import dataclass
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from monitor.classify.manifest import Manifest
from monitor.classify.package import input_shape, name_of
from monitor.errors import ClassifierError

_ALIGNMENT: Final = 64
_GENERATION: Final = np.dtype(np.uint64)


@dataclass(frozen=True, slots=True)
class SlotField:
    """One input's array inside a slot.

    Attributes:
        name: The input's name in the graph.
        dtype: Its element type there.
        shape: Rows that belong to one clip, then the input's own axes.
        offset: Bytes from the slot's begin.
    """

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    offset: int


@dataclass(frozen=True, slots=True)
class SlotLayout:
    """Where everything lies. Both sides work it out from the manifest; neither believes the other's.

    Attributes:
        fields: One for each input of the graph.
        slot_bytes: Size of one slot. It begins with the generation of the request that it was filled for.
        slots: How many there are.
        fingerprint: SHA-256, in hex, of what must be the same on both sides.
    """

    fields: tuple[SlotField, ...]
    slot_bytes: int
    slots: int
    fingerprint: str

    @classmethod
    def of(cls, manifest: Manifest, variant: str | None, slots: int) -> Self:
        """Return the layout for clips of a model package."""
        rows = manifest.clip.frames // manifest.frames_per_row
        fields = []
        offset = _ALIGNMENT
        for part in manifest.inputs:
            shape = (rows, *(extent or 1 for extent in input_shape(manifest, part)[1:]))
            field = SlotField(part.name, np.dtype(part.dtype), shape, offset)
            fields.append(field)
            size = field.dtype.itemsize * int(np.prod(shape))
            offset += -(-size // _ALIGNMENT) * _ALIGNMENT
        seen = hashlib.sha256(f"{name_of(manifest, variant)}\n{manifest.model_dump_json()}".encode())
        return cls(tuple(fields), offset, slots, seen.hexdigest())

    @property
    def total_bytes(self) -> int:
        """Size of the whole segment, in whole pages."""
        return -(-self.slots * self.slot_bytes // mmap.PAGESIZE) * mmap.PAGESIZE


class Segment:
    """One watcher's slots, mapped into this process; unmapped with its last reference."""

    def __init__(self, layout: SlotLayout, descriptor: int) -> None:
        """Map what `descriptor` stands for, which may be closed afterwards.

        Raises:
            ClassifierError: it has another size than the layout.
        """
        if os.fstat(descriptor).st_size != layout.total_bytes:
            # Reading beyond the end would be a bus error.
            raise ClassifierError("the shared memory has another size than agreed", reason="classifier_changed")
        self._layout = layout
        self._memory = mmap.mmap(descriptor, layout.total_bytes)

    def write(self, slot: int, generation: int, feeds: dict[str, NDArray[Any]], clip: int) -> None:
        """Fill a slot with the rows of one clip out of `feeds`, for the request of this generation."""
        mark = self._generation(slot)
        # While this stands at 0, the slot belongs to no request.
        mark[0] = 0
        for field in self._layout.fields:
            rows = field.shape[0]
            self._view(field, slot)[...] = feeds[field.name][clip * rows : (clip + 1) * rows]
        mark[0] = generation

    def read(self, slot: int, generation: int, feeds: dict[str, NDArray[Any]], clip: int) -> bool:
        """Copy a slot into the rows of one clip in `feeds`.

        Returns:
            False if the slot was not filled for that request, or was written to meanwhile.
        """
        mark = self._generation(slot)
        if int(mark[0]) != generation:
            return False
        for field in self._layout.fields:
            rows = field.shape[0]
            feeds[field.name][clip * rows : (clip + 1) * rows] = self._view(field, slot)
        return int(mark[0]) == generation

    def _view(self, field: SlotField, slot: int) -> NDArray[Any]:
        offset = slot * self._layout.slot_bytes + field.offset
        return np.ndarray(field.shape, field.dtype, self._memory, offset)

    def _generation(self, slot: int) -> NDArray[np.uint64]:
        return np.ndarray((1,), _GENERATION, self._memory, slot * self._layout.slot_bytes)


def empty_feeds(layout: SlotLayout, clips: int) -> dict[str, NDArray[Any]]:
    """Return arrays that hold the rows of so many clips, with nothing in them yet."""
    return {field.name: np.empty((clips * field.shape[0], *field.shape[1:]), field.dtype) for field in layout.fields}


def make_segment(layout: SlotLayout) -> int:
    """Make shared memory whose size nobody can change, and return its descriptor.

    Raises:
        OSError: the system is out of memory or descriptors.
    """
    assert sys.platform == "linux"  # noqa: S101 - narrows the platform; the settings refuse others
    descriptor = os.memfd_create("livecordon-slots", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        os.ftruncate(descriptor, layout.total_bytes)
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor
