"""What webhooks are sent, checked by code that is not ours: `standardwebhooks` of PyPI and npm, Node's ed25519, CloudEvents' SDK."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from click.testing import CliRunner
from cloudevents.core.bindings.http import HTTPMessage, from_http
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent
from pydantic import SecretStr
from standardwebhooks import Webhook
from yarl import URL

from monitor.alerts.addresses import Reach
from monitor.alerts.sender import AlertRequest
from monitor.alerts.signing import Signer
from monitor.alerts.webhook import SignedWebhook
from monitor.cli.keys import keys
from monitor.vocabulary import AlertEvent
from tests.fakes.alerts import SNAPSHOT, an_alert
from tests.fakes.checkout import ROOT
from tests.fakes.receiver import SECRET

OTHER = "whsec_" + "b3RoZXIgc2VjcmV0IG9mIHRoZSBwYXJ0bmVy" * 1

VERIFIER = """
const crypto = require("crypto");
const { Webhook } = require(process.argv[1]);
const { headers, body, secrets, wrong, publicKey } = JSON.parse(require("fs").readFileSync(0));
for (const secret of secrets) new Webhook(secret).verify(body, headers);
let refused = 0;
for (const [secret, text] of wrong) try { new Webhook(secret).verify(text, headers); } catch { refused += 1; }
const der = Buffer.concat([Buffer.from("302a300506032b6570032100", "hex"), Buffer.from(publicKey.slice(5), "base64")]);
const key = crypto.createPublicKey({ key: der, format: "der", type: "spki" });
const signed = Buffer.from(`${headers["webhook-id"]}.${headers["webhook-timestamp"]}.${body}`);
const ours = headers["webhook-signature"].split(" ").filter((one) => one.startsWith("v1a,"));
const held = ours.filter((one) => crypto.verify(null, signed, key, Buffer.from(one.slice(4), "base64")));
console.log(JSON.stringify({ refused, asymmetric: ours.length, held: held.length }));
"""


def sent(tmp_path: Path) -> tuple[AlertRequest, str]:
    """Return a request, and the public half of the key that it is signed with besides two secrets."""
    file = tmp_path / "livecordon.whsk"
    made = CliRunner().invoke(keys, ["new", str(file)])
    assert made.exit_code == 0
    assert file.stat().st_mode & 0o777 == 0o600
    assert CliRunner().invoke(keys, ["show", str(file)]).output == made.output
    again = CliRunner().invoke(keys, ["new", str(file)], standalone_mode=False)
    assert again.return_value == 1, "a key is never overwritten"
    signer = Signer([SecretStr(SECRET), SecretStr(OTHER)], [SecretStr(file.read_text().strip())])
    receiver = SignedWebhook(
        name="partner", url=URL("https://a.example/h"), reach=Reach.PUBLIC, timeout_s=5.0, signer=signer
    )
    return receiver.request(an_alert(AlertEvent.CONTAINED), at=datetime.now(UTC)), made.output.strip()


def test_pypis_package_and_the_sdk_of_cloudevents_accept_it(tmp_path: Path) -> None:
    request, _ = sent(tmp_path)
    for secret in (SECRET, OTHER):
        parsed = Webhook(secret).verify(request.body, dict(request.headers))
        assert parsed["id"] == request.headers["webhook-id"]
    event = from_http(HTTPMessage(dict(request.headers), request.body), JSONFormat(), CloudEvent)
    assert event.get_id() == request.headers["webhook-id"]
    assert event.get_type() == "livecordon.incident.contained"
    data = event.get_data()
    assert isinstance(data, dict)
    assert data["incident_id"] == SNAPSHOT.incident_id


@pytest.mark.webhook_verifier
async def test_npms_package_and_nodes_own_ed25519_accept_it(tmp_path: Path) -> None:
    request, public_key = sent(tmp_path)
    body = request.body.decode()
    wrong = [(SECRET, body + " "), ("whsec_" + "AAAA" * 8, body)]
    given = {"headers": dict(request.headers), "body": body, "secrets": [SECRET, OTHER], "wrong": wrong}
    node = await asyncio.create_subprocess_exec(
        "node",
        "-e",
        VERIFIER,
        str(ROOT / ".node" / "standard-webhooks" / "node_modules" / "standardwebhooks"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await node.communicate(json.dumps({**given, "publicKey": public_key}).encode())
    assert node.returncode == 0, err.decode()
    assert json.loads(out) == {"refused": 2, "asymmetric": 1, "held": 1}
