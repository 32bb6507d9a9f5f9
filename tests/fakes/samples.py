"""What a metric says, and by how much it has grown: metrics are the process's, and other tests count, too."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import REGISTRY


def sample(name: str, **labels: str) -> float:
    """Return the value of one sample; 0 if there is none."""
    return REGISTRY.get_sample_value(name, labels) or 0.0


def growth(name: str, **labels: str) -> Callable[[], float]:
    """Return what tells by how much a sample has grown from here on."""
    before = sample(name, **labels)
    return lambda: sample(name, **labels) - before
