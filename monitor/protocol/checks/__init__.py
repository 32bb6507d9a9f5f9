"""What a protocol must not be, looked for when it is loaded: it will run when nobody has time to debug it.

Each check is a generator over one kind of mistake. Some mistakes are logical (a state that nothing leads to), some are
about people: whoever is cut off must have somebody who was told and could take it back, and whoever is asked must be
heard. `findings` runs them all.
"""

from __future__ import annotations

from monitor.protocol.checks.finding import Finding
from monitor.protocol.checks.harm import dismissed_in_vain, no_way_back, unasked_outcome, unhandled_outcome
from monitor.protocol.checks.order import dead, never_holds
from monitor.protocol.checks.overlap import ambiguous
from monitor.protocol.checks.pace import answers_itself, left_while_trying, too_soon
from monitor.protocol.checks.people import (
    cut_short_review,
    unheard_review,
    unproven_alert,
    untold_containment,
    waits_forever,
)
from monitor.protocol.checks.shape import busy_final, busy_initial, endless, lost_names, pointless, unreachable
from monitor.protocol.definition import Definition
from monitor.protocol.graph import edges_of

__all__ = ["Finding", "findings"]


def findings(definition: Definition) -> list[Finding]:
    """Return every mistake in a definition; an empty list means that it may run.

    Names that lead nowhere hide all else: while there are any, only they are returned.
    """
    lost = list(lost_names(definition))
    if lost:
        return lost
    edges = edges_of(definition)
    found = [
        *busy_initial(definition, edges),
        *busy_final(definition),
        *pointless(edges),
        *never_holds(definition),
        *dead(definition),
        *ambiguous(definition),
        *unreachable(definition, edges),
        *endless(definition, edges),
        *waits_forever(definition, edges),
        *unheard_review(definition, edges),
        *cut_short_review(definition, edges),
        *unhandled_outcome(definition, edges),
        *unasked_outcome(edges),
        *unproven_alert(definition, edges),
        *untold_containment(definition, edges),
        *no_way_back(definition, edges),
        *dismissed_in_vain(edges),
        *too_soon(definition),
        *left_while_trying(definition, edges),
        *answers_itself(edges),
    ]
    return list(dict.fromkeys(found))
