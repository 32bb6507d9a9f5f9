"""The shipped config.yaml: valid as it is, valid with everything uncommented, and complete."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from monitor.config.loading import load_config
from monitor.config.reference import setting_paths
from monitor.shipped import example_config, models_dir, protocols_dir
from monitor.yaml_source import parse_yaml

COMMENTED = re.compile(r"(?P<indent>\s*)# (?P<setting>\s*(?:- )?(?:[a-z_]+:(?: .*|)|env: .*))$")
ENVIRON = {
    "LIVECORDON_INFERENCE_TOKEN": "for the example",
    "LIVECORDON_LIVEKIT_SECRET": "for the example",
    "LIVECORDON_MEDIAMTX_PASSWORD": "for the example",
    "LIVECORDON_NIGHT_SHIFT_TOKEN": "0123456789abcdef",
    "LIVECORDON_IDENTITY_KEY": "0123456789abcdef" * 2,
    "LIVECORDON_SRS_PASSWORD": "for the example",
    "LIVECORDON_OME_TOKEN": "for the example",
    "LIVECORDON_OME_WEBHOOK_KEY": "for the example",
    "LIVECORDON_NMS_PASSWORD": "for the example",
    "LIVECORDON_NMS_PLAY_SECRET": "for the example",
    "LIVECORDON_CUSTOM_TOKEN": "for the example",
    "LIVECORDON_GATE_TOKEN": "0123456789abcdef-gate",
    "LIVECORDON_ALERT_SECRET": "whsec_" + "abcd" * 8,
    "LIVECORDON_SIGNING_KEY": "whsk_" + "abcd" * 10 + "abc=",
    "LIVECORDON_PAGERDUTY_KEY": "for the example",
    "LIVECORDON_PAGERDUTY_WEBHOOK_SECRET": "for the example!",
    "LIVECORDON_SLACK_WEBHOOK": "https://hooks.slack.com/services/T0/B0/x",
    "LIVECORDON_ALERTMANAGER_TOKEN": "for the example",
    "LIVECORDON_MAIL_PASSWORD": "for the example",
    "LIVECORDON_NORTH_SECRET": "whsec_" + "abcd" * 8,
    "LIVECORDON_APPRISE_URL": "ntfys://ntfy.example.org/livecordon",
}
NOT_IN_THE_EXAMPLE = {
    "servers[].api_secret.file",
    "servers[].accounts",  # excludes auth_url
    "servers[].accounts[].username",
    "servers[].accounts[].actions",
    "servers[].accounts[].password.env",
    "servers[].accounts[].password.file",
    "servers[].cut_webhook",  # excludes cut_command
    "servers[].gate_url",  # for tests
    "servers[].on_list.webhook",  # each excludes the other
    "servers[].on_cut.webhook",
    "servers[].on_hold.command",
    "servers[].on_release.command",
    "servers[].on_block.command",
    "servers[].on_unblock.command",
    "servers[].webhook_token.file",
    "store.url.env",  # excludes path
    "store.url.file",
    "web.tokens[].secret.file",  # excludes env, as below
    "web.gate_token.file",
    "servers[].password.file",
    "servers[].play_secret.file",
    "servers[].access_token.file",
    "servers[].webhook_secret.file",
    "alerts.receivers[].secrets[].file",
    "alerts.receivers[].signing_keys[].file",
    "alerts.receivers[].webhook_secrets[].file",
    "alerts.receivers[].routing_key.file",
    "alerts.receivers[].webhook.file",
    "alerts.receivers[].token.file",
    "alerts.receivers[].password.file",
    "alerts.receivers[].urls[].file",
    "alerts.receivers[].ca_file",  # must be there
    "partners[].secrets[].file",
    "partners[].signing_keys[].file",
    "partners[].ca_file",  # must be there
    "watch.remote.token.file",
    "policies[].text",  # excludes url
    "strikes.key.file",
    "watch.run_as_user",  # must be there, and needs root
}


def uncommented(*, examples: bool) -> str:
    lines = []
    in_example = False
    for line in example_config().read_text().splitlines():
        in_example = line.lstrip().startswith("#") and (in_example or "# Example" in line)
        match = COMMENTED.fullmatch(line)
        lines.append(match["indent"] + match["setting"] if match and (examples or not in_example) else line)
    return "\n".join(lines) + "\n"


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    match value:
        case dict() if value:
            for key, item in value.items():
                yield from leaves(item, f"{path}.{key}" if path else key)
        case list() | tuple() if value:
            for item in value:
                yield from leaves(item, f"{path}[]")
        case _:
            yield path.removesuffix("[]"), value


def test_it_loads_without_a_word() -> None:
    loaded = load_config(example_config(), {})
    assert loaded.warnings() == ()
    assert [(server.name, server.kind) for server in loaded.config.servers] == [("demo", "embedded")]
    assert loaded.config.protocol.default == "assisted"
    assert loaded.config.alerts.receivers == ()


def test_every_example_in_it_loads_when_uncommented(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(uncommented(examples=True))
    loaded = load_config(file, ENVIRON)
    assert [server.kind for server in loaded.config.servers] == [
        "embedded",
        "nginx_rtmp",
        "mediamtx",
        "livekit",
        "srs",
        "ovenmediaengine",
        "node_media_server",
        "custom",
        "static",
    ]
    assert [token.role for token in loaded.config.web.tokens] == ["responder"]
    kinds = [receiver.kind for receiver in loaded.config.alerts.receivers]
    assert kinds == ["webhook", "pagerduty", "slack", "alertmanager", "email", "apprise"]
    assert [warning.what for warning in loaded.warnings()] == ["Slack tells people and wakes nobody"]


def test_every_setting_stands_in_it() -> None:
    shown = {path for path, _ in leaves(parse_yaml(uncommented(examples=True), "config.yaml").data)}
    parents = {
        "servers",
        "servers[].streams",
        "servers[].hls_urls",
        "servers[].include",
        "servers[].exclude",
        "web.tokens",
        "alerts.receivers",
        "responders.groups",
        "partners",
        "partners[].secrets",
        "partners[].signing_keys",
        "alerts.receivers[].secrets",
        "alerts.receivers[].signing_keys",
        "alerts.receivers[].webhook_secrets",
        "alerts.receivers[].urls",
        "protocol.rules",
        "policies",
    }
    assert set(setting_paths()) - shown - parents == NOT_IN_THE_EXAMPLE


def test_commented_settings_show_their_defaults(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(uncommented(examples=False))
    shown = dict(leaves(load_config(file, {}).config.model_dump(mode="json")))
    file.write_text("servers: [{name: demo, kind: embedded}]\n")
    defaults = dict(leaves(load_config(file, {}).config.model_dump(mode="json")))
    different = {path for path, value in shown.items() if value != defaults[path] and defaults[path] is not None}
    assert different == set()


def test_its_first_line_tells_editors_where_the_schema_lies() -> None:
    first = example_config().read_text().splitlines()[0]
    schema = first.removeprefix("# yaml-language-server: $schema=")
    assert (example_config().parent / schema).is_file()


@pytest.mark.parametrize("folder", [models_dir, protocols_dir])
def test_shipped_folders_exist(folder: Any) -> None:
    assert folder().is_dir()
