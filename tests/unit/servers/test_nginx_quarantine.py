"""Names under which held streams go on: nobody guesses them, and only we recognise them."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.config.servers import NginxRtmpServer
from monitor.errors import GateRequestError, UnsafeCallRefused
from monitor.servers.nginx_rtmp.adapter import NginxRtmpMediaServer
from monitor.servers.nginx_rtmp.names import is_safe
from monitor.servers.nginx_rtmp.quarantine import QuarantineNames
from monitor.servers.port import RawGateRequest
from monitor.vocabulary import StreamRef

SAFE = st.text(string.ascii_letters + string.digits + "._~-", min_size=1, max_size=120)
OURS = QuarantineNames(b"k" * 32)


@given(app=SAFE, name=SAFE)
def test_what_is_hidden_is_found_again_with_the_key_only(app: str, name: str) -> None:
    ref = StreamRef("edge", app, name)
    hidden = OURS.name_for(ref)
    there = StreamRef("edge", app, hidden)

    assert is_safe(hidden)
    assert len(hidden) <= 200
    assert OURS.true_ref(there) == ref
    assert QuarantineNames(b"k" * 32).name_for(ref) == hidden
    assert QuarantineNames(b"j" * 32).true_ref(there) is None
    assert OURS.true_ref(StreamRef("edge", f"{app}x", hidden)) is None


@given(text=st.text(string.ascii_letters + string.digits + "-_=", max_size=60))
def test_no_name_of_a_publishers_choice_is_taken_for_one(text: str) -> None:
    assert OURS.true_ref(StreamRef("edge", "live", f"held-{text}")) is None


@given(name=SAFE, last=st.sampled_from(string.ascii_letters + string.digits + "-_"))
def test_another_spelling_of_the_same_value_is_not_ours(name: str, last: str) -> None:
    hidden = OURS.name_for(StreamRef("edge", "live", name))
    respelt = hidden[:-1] + last
    assert (OURS.true_ref(StreamRef("edge", "live", respelt)) is None) is (respelt != hidden)


@pytest.mark.parametrize("name", ["", "a b", "a/b", "cam?x", "x" * 131, "\u00e9"])
def test_what_could_not_be_given_back_is_not_taken(name: str) -> None:
    with pytest.raises(UnsafeCallRefused):
        OURS.name_for(StreamRef("edge", "live", name))


async def test_nobody_publishes_under_a_quarantine_name_that_nothing_is_moved_to() -> None:
    server = NginxRtmpMediaServer(
        NginxRtmpServer(
            kind="nginx_rtmp",
            name="edge",
            stat_url="http://127.0.0.1:1/stat",
            control_url="http://127.0.0.1:1/control",
            rtmp_url="rtmp://127.0.0.1:1",
        )
    )
    server.use_key(b"k" * 32)
    hidden = OURS.name_for(StreamRef("edge", "live", "cam"))
    form = f"call=publish&app=live&name={hidden}&clientid=7".encode()

    with pytest.raises(GateRequestError):
        server.parse_gate_request(RawGateRequest("application/x-www-form-urlencoded", form))
