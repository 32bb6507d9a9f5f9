"""The head that ships, fitted to everything in a process of its own: one core, so that the same clips give the same model."""

from __future__ import annotations

import numpy as np

from models.training.fitting import Head, HeldOut, Member, fit_without
from models.training.workshop import Arrays

NO_FOLD = -1
"""Held out of the fit to everything."""


def fit_whole(held_out: HeldOut) -> Arrays:
    """Return the head as arrays; `head_of` makes a head of them again."""
    head, _ = fit_without(held_out)
    arrays: Arrays = {"mean": head.mean, "std": head.std, "shares": np.array([each.share for each in head.members])}
    for number, member in enumerate(head.members):
        for depth, (weights, bias) in enumerate(member.layers):
            arrays |= {f"weights_{number}_{depth}": weights, f"bias_{number}_{depth}": bias}
    return arrays


def head_of(arrays: Arrays) -> Head:
    """Return the head that `fit_whole` fitted, not calibrated."""
    members = []
    for number, share in enumerate(arrays["shares"].tolist()):
        depths = sum(name.startswith(f"weights_{number}_") for name in arrays)
        layers = tuple(
            (arrays[f"weights_{number}_{depth}"], arrays[f"bias_{number}_{depth}"]) for depth in range(depths)
        )
        members.append(Member(layers, share))
    return Head(arrays["mean"], arrays["std"], tuple(members))
