from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import aiohttp
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from monitor.alerts.certificates import noting_certificates_of
from tests.fakes.samples import sample

ENDS = datetime(2051, 5, 17, 3, 4, 5, tzinfo=UTC)


def self_signed(folder: Path) -> Path:
    """Write a key and its certificate for 127.0.0.1 into one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "receiver")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(7)
        .not_valid_before(datetime.now(UTC) - timedelta(days=1))
        .not_valid_after(ENDS)
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    path = folder / "receiver.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(private + certificate.public_bytes(serialization.Encoding.PEM))
    return path


async def test_the_end_of_a_receivers_certificate_is_known_even_from_an_answer_without_a_body(tmp_path: Path) -> None:
    certificate = self_signed(tmp_path)
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(certificate)

    async def take(_: web.Request) -> web.Response:
        return web.Response(status=204)

    app = web.Application()
    app.router.add_post("/", take)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=serving).start()
    trusting = ssl.create_default_context(cafile=str(certificate))
    answers = noting_certificates_of("secure")
    address = f"https://127.0.0.1:{runner.addresses[0][1]}/"
    try:
        async with (
            aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(ssl=trusting, force_close=True), response_class=answers
            ) as session,
            session.post(address) as answer,
        ):
            assert answer.status == 204
    finally:
        await runner.cleanup()
    assert sample("livecordon_receiver_certificate_expiry_timestamp_seconds", receiver="secure") == ENDS.timestamp()


async def test_without_tls_there_is_none() -> None:
    app = web.Application()
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        async with (
            aiohttp.ClientSession(response_class=noting_certificates_of("plain")) as session,
            session.post(f"http://127.0.0.1:{runner.addresses[0][1]}/") as answer,
        ):
            assert answer.status == 404
    finally:
        await runner.cleanup()
    assert sample("livecordon_receiver_certificate_expiry_timestamp_seconds", receiver="plain") == 0
