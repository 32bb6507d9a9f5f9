"""Where alerts may go and what an answer may cost: real sockets, a resolver and an authority under the test's control."""

from __future__ import annotations

import asyncio
import gzip
import random
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from ipaddress import ip_network
from pathlib import Path

import pytest
from pydantic import SecretStr
from typing_extensions import override
from yarl import URL

from monitor.alerts.addresses import Reach
from monitor.alerts.port import Attempt, FailureReason, Outcome
from monitor.alerts.receivers import build_receivers
from monitor.alerts.sender import MAX_ANSWER_BYTES, HttpAnswer, judged_by_status
from monitor.alerts.signing import Signer
from monitor.alerts.webhook import SignedWebhook
from monitor.config.receivers import WebhookReceiver
from monitor.config.section import Secret
from monitor.errors import ConfigError
from monitor.store.deliveries import DeliveryRecord
from tests.fakes.authority import Authority
from tests.fakes.clock import ManualClock
from tests.fakes.receiver import SECRET, FakeReceiver
from tests.unit.alerts.test_outbox import Names, event, receiver_for

ENVIRON = {"SECRET": SECRET}


def an_alert() -> DeliveryRecord:
    one = event()
    return DeliveryRecord(
        id="d-1",
        event_id=one.id,
        event_type=one.type,
        incident_id=one.incident_id,
        sequence=one.sequence,
        receiver="partner",
        priority=one.priority.value,
        body=one.body,
        status="pending",
        attempts=0,
        created_at=0,
        next_at=0,
        finished_at=None,
        last_status=None,
        last_reason=None,
    )


async def attempt(receiver: SignedWebhook) -> Attempt:
    async with receiver.carrier(ManualClock()) as carrier:
        return await carrier.attempt(an_alert())


def configured(url: str, **settings: object) -> WebhookReceiver:
    return WebhookReceiver.model_validate(
        {"name": "partner", "url": url, "secrets": [Secret(env="SECRET")], "timeout": "5s", **settings}
    )


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@asynccontextmanager
async def tls_receiver(context: ssl.SSLContext) -> AsyncIterator[FakeReceiver]:
    async with FakeReceiver(tls=context) as receiver:
        yield receiver


async def test_a_certificate_that_nobody_vouches_for_is_refused_whatever_the_environment_says(
    authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONHTTPSVERIFY", "0")
    async with tls_receiver(authority.server_side("127.0.0.1")) as fake:
        answer = await attempt(receiver_for(fake, url=URL(fake.url).with_scheme("https")))
        assert (answer.outcome, answer.reason) == (Outcome.FAILED, FailureReason.TLS)
        assert fake.requests == []


async def test_a_private_authority_is_named_by_a_file_and_vouches_for_its_names_only(authority: Authority) -> None:
    for host, lasts, wanted in (
        ("127.0.0.1", timedelta(days=1), None),
        ("127.0.0.2", timedelta(days=1), FailureReason.TLS),
        ("127.0.0.1", timedelta(days=-1), FailureReason.TLS),
    ):
        async with tls_receiver(authority.server_side(host, lasts=lasts)) as fake:
            url = str(URL(fake.url).with_scheme("https"))
            (receiver,) = build_receivers([configured(url, ca_file=authority.ca_file)], ENVIRON)
            assert isinstance(receiver, SignedWebhook)
            answer = await attempt(receiver)
            assert answer.reason == wanted
            assert [one.verified for one in fake.requests] == ([True] if wanted is None else [])


def test_no_setting_switches_verification_off() -> None:
    words = ("verify", "insecure", "skip", "tls", "ssl")
    assert not [name for name in WebhookReceiver.model_fields if any(word in name for word in words)]


def test_a_file_without_certificates_and_a_network_that_is_none_are_told(tmp_path: Path) -> None:
    (tmp_path / "empty.pem").write_text("nothing")
    entry = configured(
        "https://a.example/", ca_file=tmp_path / "empty.pem", allow_networks=["10.0.0.0/33", "10.0.0.1/8", "fd00::/8"]
    )
    with pytest.raises(ConfigError) as caught:
        build_receivers([entry], ENVIRON)
    assert [problem.where for problem in caught.value.problems] == [
        "alerts.receivers[0].allow_networks[0]",
        "alerts.receivers[0].allow_networks[1]",
        "alerts.receivers[0].ca_file",
    ]


@pytest.mark.parametrize(
    ("address", "networks", "reached"),
    [
        ("127.0.0.1", ["127.0.0.0/30"], True),
        ("127.0.0.1", ["10.0.0.0/8"], False),
        ("127.0.0.1", [], False),
        ("169.254.169.254", ["169.254.0.0/16"], False),
        ("100.100.100.200", ["100.64.0.0/10"], False),
    ],
)
async def test_a_receiver_on_premises_is_reached_in_its_own_networks_only(
    *, partner: FakeReceiver, monkeypatch: pytest.MonkeyPatch, address: str, networks: list[str], reached: bool
) -> None:
    Names(monkeypatch, [address])
    receiver = receiver_for(
        partner,
        url=URL(partner.url).with_host("alerts.example"),
        reach=Reach.PUBLIC,
        networks=tuple(ip_network(network) for network in networks),
    )
    answer = await attempt(receiver)
    assert (answer.outcome is Outcome.DELIVERED) == reached == (len(partner.requests) == 1)
    if not reached:
        assert answer.reason is FailureReason.BLOCKED_ADDRESS


async def test_a_name_that_is_looked_up_once_cannot_lead_elsewhere_when_it_is_connected_to(
    partner: FakeReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The second answer would lead inside: there is no second look-up, and what was checked is what is connected to.
    names = Names(monkeypatch, ["127.0.0.1"], ["169.254.169.254"])
    receiver = receiver_for(
        partner,
        url=URL(partner.url).with_host("alerts.example"),
        reach=Reach.PUBLIC,
        networks=(ip_network("127.0.0.1/32"),),
    )
    async with receiver.carrier(ManualClock()) as carrier:
        assert (await carrier.attempt(an_alert())).outcome is Outcome.DELIVERED
        assert len(names.asked) == 1
        # The connection that was checked is used again, without another look-up.
        assert (await carrier.attempt(an_alert())).outcome is Outcome.DELIVERED
        assert len(names.asked) == 1
    assert (await attempt(receiver)).reason is FailureReason.BLOCKED_ADDRESS


Answering = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def raw(answering: Answering) -> AsyncIterator[SignedWebhook]:
    """Yield a receiver whose server answers as it likes once it has read a request's head."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            await answering(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield SignedWebhook(
            name="partner",
            url=URL(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"),
            signer=Signer([SecretStr(SECRET)]),
            reach=Reach.LOOPBACK,
            timeout_s=1.5,
        )


async def test_headers_without_end_are_cut_off() -> None:
    sent = 0

    async def endless(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(b"HTTP/1.1 200 OK\r\n")
        while True:
            writer.write(b"X-Filler: " + b"x" * 4000 + b"\r\n")
            sent += 4000
            await writer.drain()

    async with raw(endless) as receiver:
        answer = await attempt(receiver)
    assert answer.outcome is Outcome.FAILED
    assert answer.reason in (FailureReason.BAD_ANSWER, FailureReason.TIMEOUT)
    assert sent < 64 * 1024 * 1024


async def test_an_answer_that_drips_is_given_up_in_time() -> None:
    async def dripping(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for letter in b"HTTP/1.1 200 OK\r\nX-Slow: " + b"x" * 1000:
            writer.write(bytes([letter]))
            await writer.drain()
            await asyncio.sleep(0.05)

    async with raw(dripping) as receiver:
        assert (await attempt(receiver)).reason is FailureReason.TIMEOUT


@pytest.mark.parametrize("head", [b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 500 Oh\r\n"])
async def test_of_an_endless_body_the_beginning_is_read_and_the_status_counts(head: bytes) -> None:
    kept: list[int] = []

    async def endless(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(head + b"Transfer-Encoding: chunked\r\n\r\n")
        while True:
            writer.write(b"1000\r\n" + b"x" * 4096 + b"\r\n")
            await writer.drain()

    class Noting(SignedWebhook):
        @override
        def judge(self, answer: HttpAnswer) -> Attempt:
            kept.append(len(answer.body))
            return judged_by_status(answer)

    async with raw(endless) as receiver:
        noting = Noting(**{name: getattr(receiver, name) for name in SignedWebhook.__dataclass_fields__})
        answer = await attempt(noting)
    assert answer.outcome is (Outcome.DELIVERED if b"200" in head else Outcome.FAILED)
    assert kept == [MAX_ANSWER_BYTES]


async def test_one_that_says_200_and_dies_has_taken_it() -> None:
    async def dying(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf an ans")
        await writer.drain()
        writer.transport.abort()

    async with raw(dying) as receiver:
        assert (await attempt(receiver)).outcome is Outcome.DELIVERED


async def test_a_compressed_answer_is_not_unpacked() -> None:
    bomb = gzip.compress(bytes(64 * 1024 * 1024))

    async def bombing(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = f"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {len(bomb)}\r\n\r\n"
        writer.write(head.encode() + bomb)
        await writer.drain()

    async with raw(bombing) as receiver:
        assert (await attempt(receiver)).outcome is Outcome.DELIVERED


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"\x00\x01\x02",
        b"SSH-2.0-OpenSSH_9\r\n",
        b"HTTP/9.9 xx\r\n\r\n",
        random.Random(1).randbytes(64) + b"\r\n\r\n",
    ],
)
async def test_what_is_no_answer_is_a_failure_and_nothing_worse(answer: bytes) -> None:
    async def talking(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(answer)
        await writer.drain()

    async with raw(talking) as receiver:
        assert (await attempt(receiver)).reason in (
            FailureReason.BAD_ANSWER,
            FailureReason.DISCONNECTED,
            FailureReason.TIMEOUT,
        )
