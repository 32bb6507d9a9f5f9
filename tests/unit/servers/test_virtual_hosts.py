from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.servers.virtual_hosts import qualified, split

_VHOSTS = st.sampled_from(["main", "other", "a"]) | st.text(st.characters(exclude_characters="/"), min_size=1)
_APPS = st.sampled_from(["live", "live/room", "main/live", "other", "/", "a/b/c"]) | st.text(min_size=1)


@pytest.mark.parametrize(
    ("vhost", "app", "name"),
    [
        ("main", "live", "live"),
        ("other", "live", "other/live"),
        ("main", "other/live", "main/other/live"),
        ("other", "live/room", "other/live/room"),
    ],
)
def test_the_default_virtual_host_is_left_out_where_nothing_is_lost(vhost: str, app: str, name: str) -> None:
    assert qualified(vhost, app, default="main") == name


@given(_VHOSTS, _APPS)
def test_every_application_has_a_name_of_its_own(vhost: str, app: str) -> None:
    assert split(qualified(vhost, app, default="main"), default="main") == (vhost, app)
