"""The section `retention` of config.yaml: how long things are kept."""

from __future__ import annotations

from monitor.config.fields import Duration
from monitor.config.section import Section

_DAY_S = 86_400.0


class RetentionSection(Section):
    """How long what the daemon has written is kept."""

    evidence: Duration | None = 180 * _DAY_S
    """How long evidence packages are kept after they were made; `null` keeps them for ever. Those of an open incident, and of one in
    whose folder somebody has put a file called `hold`, are kept in any case."""
    audit: Duration | None = None
    """How long entries of the audit log are kept; for ever by default. What remains can still be proved whole."""
