from __future__ import annotations

import pytest

from monitor.alerts.addresses import Reach
from monitor.alerts.receivers import build_receivers
from monitor.alerts.webhook import SignedWebhook
from monitor.config.models import Secret
from monitor.config.receivers import WebhookReceiver
from monitor.errors import ConfigError
from tests.fakes.receiver import SECRET

ENVIRON = {"GOOD": SECRET, "BAD": "hunter2hunter2", "EMPTY": ""}


def entry(name: str = "partner", url: str = "https://a.example/h?k=s3cr3t", *secrets: str) -> WebhookReceiver:
    return WebhookReceiver(name=name, url=url, secrets=tuple(Secret(env=env) for env in secrets or ("GOOD",)))


def test_a_receiver_is_built_and_shows_neither_address_nor_secret() -> None:
    (receiver,) = build_receivers([entry()], ENVIRON)
    assert isinstance(receiver, SignedWebhook)
    assert receiver.name == "partner"
    assert receiver.reach is Reach.PUBLIC
    assert receiver.timeout_s == 15
    assert "s3cr3t" not in repr(receiver)
    assert "a.example" not in repr(receiver)
    assert SECRET not in repr(receiver)


def test_plain_http_is_for_loopback_only() -> None:
    (receiver,) = build_receivers([entry(url="http://localhost:9/h")], ENVIRON)
    assert isinstance(receiver, SignedWebhook)
    assert receiver.reach is Reach.LOOPBACK
    with pytest.raises(ConfigError) as caught:
        build_receivers([entry(url="http://a.example/h?k=s3cr3t")], ENVIRON)
    assert str(caught.value).startswith("config.yaml: alerts.receivers[0].url: ")
    assert "s3cr3t" not in str(caught.value)


def test_every_problem_is_told_at_once_and_no_secret_is_quoted() -> None:
    entries = [
        entry("one", "http://a.example/h"),
        entry("two", "https://a.example/h", "GOOD", "BAD"),
        entry("three", "https://a.example/h", "MISSING"),
    ]
    with pytest.raises(ConfigError) as caught:
        build_receivers(entries, ENVIRON, config_file="c.yaml")
    lines = str(caught.value).splitlines()
    assert len(lines) == 3
    assert lines[0].startswith("c.yaml: alerts.receivers[0].url: ")
    assert lines[1].startswith("c.yaml: alerts.receivers[1].secrets[1]: ")
    assert "MISSING" in lines[2]
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("url", ["https://", "https://[::1", "https:///path", "https://a.example:99999/"])
def test_an_address_that_is_none_is_a_problem_not_a_crash(url: str) -> None:
    with pytest.raises(ConfigError, match=r"alerts\.receivers\[0\]\.url"):
        # The configuration refuses these before; nothing here relies on it.
        build_receivers([entry().model_copy(update={"url": url})], ENVIRON)
