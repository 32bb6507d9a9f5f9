from __future__ import annotations

import pytest

from monitor.errors import UnsafeCallRefused
from monitor.servers.command import filled_in


def test_values_go_where_their_places_are_and_never_split_an_argument() -> None:
    command = ("ban", "--key={app}/{name}", "{address}", "{unknown}", "{}")
    values = {"app": "live", "name": "cam;rm~1", "address": "2001:db8::7"}
    with pytest.raises(UnsafeCallRefused):
        filled_in(command, values)
    assert filled_in(command, values | {"name": "cam~1"}) == [
        "ban",
        "--key=live/cam~1",
        "2001:db8::7",
        "{unknown}",
        "{}",
    ]


@pytest.mark.parametrize(
    "name", ["", "-rf", "--all", "..", "a/../b", "a b", "*", "$(x)", "a\nb", "x" * 256, "{app}", "\u00e4"]
)
def test_a_name_that_a_program_could_take_for_something_else_is_refused(name: str) -> None:
    with pytest.raises(UnsafeCallRefused):
        filled_in(("cut", "{name}"), {"name": name, "app": "live"})


def test_a_value_that_no_place_asks_for_is_not_looked_at() -> None:
    assert filled_in(("cut", "{app}"), {"app": "live", "name": "-rf /"}) == ["cut", "live"]
