from __future__ import annotations

import base64
import hashlib
import hmac
from datetime import UTC, datetime, timedelta, timezone

import pytest
from pydantic import SecretStr
from standardwebhooks import Webhook

from monitor.alerts.signing import Signer

AT = datetime(2026, 3, 15, 12, 0, 7, 900_000, tzinfo=UTC)
KEY = bytes(range(32))
SECRET = "whsec_" + base64.b64encode(KEY).decode()
OTHER_SECRET = "whsec_" + base64.b64encode(bytes(range(100, 164))).decode()
BODY = '{"name":"Zürich"}'.encode()


def by_hand(key: bytes, message_id: str, timestamp: int, body: bytes) -> str:
    text = f"{message_id}.{timestamp}.".encode() + body
    return "v1," + base64.b64encode(hmac.new(key, text, hashlib.sha256).digest()).decode()


def test_known_answer() -> None:
    headers = Signer([SecretStr(SECRET)]).headers("msg_1", BODY, at=AT)
    assert headers == {
        "webhook-id": "msg_1",
        "webhook-timestamp": "1773576007",
        # Computed with `openssl dgst -sha256 -mac HMAC`.
        "webhook-signature": "v1,g0WYaiCSy2XVE/fVXAzfUYXS8TjoYrYZdMzmi7rKP5w=",
    }


def test_the_signature_is_what_fifteen_lines_of_hmac_say() -> None:
    headers = Signer([SecretStr(SECRET)]).headers("msg_1", BODY, at=AT)
    assert headers["webhook-signature"] == by_hand(KEY, "msg_1", int(AT.timestamp()), BODY)


@pytest.mark.parametrize("secret", [SECRET, OTHER_SECRET])
def test_while_a_secret_is_replaced_both_the_old_and_the_new_one_verify(secret: str) -> None:
    headers = Signer([SecretStr(SECRET), SecretStr(OTHER_SECRET)]).headers("msg_1", BODY, at=datetime.now(UTC))
    assert len(headers["webhook-signature"].split(" ")) == 2
    assert Webhook(secret).verify(BODY, headers) == {"name": "Zürich"}


def test_a_time_in_another_zone_is_refused_because_it_would_be_signed_wrongly() -> None:
    with pytest.raises(ValueError, match="UTC"):
        Signer([SecretStr(SECRET)]).headers("msg_1", BODY, at=AT.astimezone(timezone(timedelta(hours=2))))
    with pytest.raises(ValueError, match="UTC"):
        Signer([SecretStr(SECRET)]).headers("msg_1", BODY, at=AT.replace(tzinfo=None))


def test_a_dot_in_the_id_is_refused() -> None:
    with pytest.raises(ValueError, match="dot"):
        Signer([SecretStr(SECRET)]).headers("msg.1", BODY, at=AT)


@pytest.mark.parametrize(
    "secret",
    [
        base64.b64encode(KEY).decode(),
        "whsec_",
        "whsec_not base64 at all!!",
        "whsec_" + base64.b64encode(bytes(23)).decode(),
        "whsec_" + base64.b64encode(bytes(65)).decode(),
    ],
)
def test_malformed_secrets_are_refused_without_being_quoted(secret: str) -> None:
    with pytest.raises(ValueError, match=r"whsec_|24 to 64") as caught:
        Signer([SecretStr(secret)])
    payload = secret.removeprefix("whsec_")
    assert not payload or payload not in str(caught.value)


def test_no_secret_at_all_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        Signer([])


def test_a_signer_shows_no_secret() -> None:
    assert "Signer(1 secrets, 0 keys)" in repr(Signer([SecretStr(SECRET)]))
