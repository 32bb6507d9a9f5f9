"""Prints what happens as it happens, and at the end how long each step took."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from rich.console import Console
from rich.table import Table

from monitor.errors import LivecordonError


class DemoFailed(LivecordonError):
    """A step of the demo did not happen in its time."""

    reason = "demo_failed"


@dataclass(slots=True, eq=False)
class Timeline:
    """Steps in order, with the seconds since the demo began."""

    console: Console
    began_s: float = field(default_factory=time.monotonic)
    steps: list[tuple[str, float]] = field(default_factory=list)

    def happened(self, step: str, detail: str = "") -> None:
        """Note that `step` has truly happened, and print it."""
        at_s = time.monotonic() - self.began_s
        self.steps.append((step, at_s))
        self.console.print(
            f"[dim]{at_s:6.1f} s[/]  [green]●[/] [bold]{step:<18}[/] {detail}", highlight=False, soft_wrap=True
        )

    def expected(self, what: str) -> None:
        """Print what is being waited for."""
        at_s = time.monotonic() - self.began_s
        self.console.print(f"[dim]{at_s:6.1f} s  ○ {what}[/]", highlight=False, soft_wrap=True)

    def summary(self, since: str) -> None:
        """Print how long each step took, and how long after `since` it came."""
        origin_s = next((at_s for step, at_s in self.steps if step == since), 0.0)
        table = Table(title="How long each step took", title_justify="left", box=None, padding=(0, 2))
        table.add_column("step")
        table.add_column("took", justify="right")
        table.add_column(f"after “{since}”", justify="right")
        before_s = 0.0
        for step, at_s in self.steps:
            after_s = at_s - origin_s
            table.add_row(step, f"{at_s - before_s:.2f} s", f"{after_s:+.2f} s")
            before_s = at_s
        self.console.print(table)
