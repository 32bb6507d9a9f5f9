from __future__ import annotations

import base64
from datetime import UTC, datetime

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pydantic import SecretStr

from monitor.alerts.disclosure import disclosed
from monitor.alerts.event_models import parse
from monitor.alerts.events import compose
from monitor.alerts.signing import Signer, public_part, written
from monitor.alerts.verifying import Doubt, Genuine, Verifier
from monitor.vocabulary import AlertEvent
from tests.fakes.snapshots import SNAPSHOT

SECRETS = [SecretStr("whsec_" + base64.b64encode(bytes(range(n, n + 32))).decode()) for n in (0, 50)]
KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
AT = datetime(2026, 3, 15, 12, tzinfo=UTC)
NOW = AT.timestamp()
BODY = b'{"a": 1}'


def test_any_secret_or_key_of_both_sides_will_do() -> None:
    by_all = Signer(SECRETS, [SecretStr(written(KEY))]).headers("m1", BODY, at=AT)
    for verifier in (
        Verifier(SECRETS[:1]),
        Verifier(SECRETS[1:]),
        Verifier((), [SecretStr(public_part(KEY))]),
        Verifier(SECRETS[:1], [SecretStr(public_part(Ed25519PrivateKey.generate()))]),
    ):
        assert verifier.verify(by_all, BODY, now=NOW) == Genuine("m1")
    only_key = Signer((), [SecretStr(written(KEY))]).headers("m1", BODY, at=AT)
    assert Verifier(SECRETS).verify(only_key, BODY, now=NOW) is Doubt.FORGED


@pytest.mark.parametrize(
    ("change", "doubt"),
    [
        ({"webhook-id": "m2"}, Doubt.FORGED),
        ({"webhook-id": "m.1"}, Doubt.UNSIGNED),
        ({"webhook-timestamp": "٣"}, Doubt.UNSIGNED),
        ({"webhook-timestamp": "9" * 40}, Doubt.UNSIGNED),
        ({"webhook-signature": ""}, Doubt.FORGED),
        ({"webhook-signature": "v1,"}, Doubt.FORGED),
        ({"webhook-signature": "v1,é v1a,AAAA x"}, Doubt.FORGED),
    ],
)
def test_anything_else_is_doubted(change: dict[str, str], doubt: Doubt) -> None:
    headers = {**Signer(SECRETS).headers("m1", BODY, at=AT), **change}
    verifier = Verifier(SECRETS, [SecretStr(public_part(KEY))])
    assert verifier.verify(headers, BODY, now=NOW) is doubt


def test_a_genuine_request_grows_old() -> None:
    headers = Signer(SECRETS).headers("m1", BODY, at=AT)
    verifier = Verifier(SECRETS)
    assert isinstance(verifier.verify(headers, BODY, now=NOW + 300), Genuine)
    assert verifier.verify(headers, BODY, now=NOW + 301) is Doubt.TOO_OLD
    assert verifier.verify(headers, BODY, now=NOW - 301) is Doubt.TOO_OLD
    assert verifier.verify(headers, BODY + b" ", now=NOW) is Doubt.FORGED


@pytest.mark.parametrize("keys", [((), ()), ([SecretStr("whsec_short")], ()), ((), [SecretStr("whpk_AAAA")])])
def test_what_proves_nothing_is_refused(keys: tuple[list[SecretStr], list[SecretStr]]) -> None:
    with pytest.raises(ValueError, match=r"secret|key|whsec_"):
        Verifier(*keys)


def test_what_a_receiver_is_not_to_know_is_left_out_and_the_rest_stays_a_documented_event() -> None:
    whole = compose(AlertEvent.RAISED, SNAPSHOT, source="site", event_id="e1").body
    assert disclosed(whole, "internal") is whole
    for shows, hidden in (
        ("partner", (b"live/show", b"watch.example")),
        ("public", (b"live/show", b"watch.example", b"main")),
    ):
        told = disclosed(whole, shows)  # type: ignore[arg-type]  # both are words of it
        assert parse(told).id == "e1"
        assert not any(word in told for word in hidden)
        assert told == disclosed(whole, shows)  # type: ignore[arg-type]  # see above
