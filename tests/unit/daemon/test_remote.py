"""Where a remote model runs, and what operators see while it does not answer."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import yaml

from monitor import metrics
from monitor.classify.package import load_package
from monitor.classify.remote import RemoteSettings
from monitor.config.loading import load_config
from monitor.daemon.remote import remote_settings, show_classifiers
from monitor.daemon.views import MemoryView, Vitals
from monitor.errors import ConfigError
from monitor.watch.messages import WatcherStats
from monitor.watch.view import WatcherView
from tests.fakes import model_packages as toys

TOKEN = {"TOKEN": "a token"}


def package(folder: Path, *, remote: bool) -> Path:
    manifest = toys.motion_manifest()
    if remote:
        manifest["remote"] = {"protocol": "kserve_v2", "model": "toy"}
        del manifest["file"]
    return toys.write_motion_package(folder, manifest=manifest)


def settings(tmp_path: Path, model: Path, remote: dict[str, Any] | None) -> RemoteSettings | None:
    watch = {"model": str(model), **({"remote": remote} if remote else {})}
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump({"servers": [{"name": "demo", "kind": "embedded"}], "watch": watch}))
    return remote_settings(load_config(file, TOKEN), load_package(model), TOKEN)


def test_the_whole_section_reaches_the_watchers(tmp_path: Path) -> None:
    model, fallback = package(tmp_path / "r", remote=True), package(tmp_path / "l", remote=False)
    section = {
        "url": "https://h/triton/",
        "timeout": "250ms",
        "token": {"env": "TOKEN"},
        "failures": 4,
        "retry": "9s",
        "fallback": str(fallback),
    }
    assert settings(tmp_path, model, section) == RemoteSettings(
        "https://h/triton/", timeout_s=0.25, token="a token", failures=4, retry_s=9.0, fallback=str(fallback)
    )
    assert settings(tmp_path, fallback, None) is None


@pytest.mark.parametrize(
    ("remote", "section", "complaint"),
    [
        (True, None, "config.yaml:.*watch.model: .*is on an inference server, and nothing says where"),
        (False, {"url": "https://h"}, "config.yaml:.*watch.remote: .*runs here, and is on no server"),
        (True, {"url": "https://h", "fallback": "nothing"}, "watch.remote.fallback: .*is called nothing"),
        (True, {"url": "https://h", "fallback": "violent-motion"}, "watch.remote.fallback: .*has no scores for bright"),
        (True, {"url": "http://h"}, "watch.remote.url: pictures of people would travel unencrypted"),
        (True, {"url": "https://u:p@h"}, "watch.remote.url: there is a user or password"),
        (True, {"url": "https://h?x=1"}, "watch.remote.url: there is a query"),
        (True, {"url": "https://h", "token": {"env": "UNSET"}}, "watch.remote.token: .*UNSET is not set"),
    ],
)
def test_what_cannot_work_is_refused_with_its_place(
    tmp_path: Path, remote: bool, section: dict[str, Any] | None, complaint: str
) -> None:
    with pytest.raises(ConfigError, match=complaint):
        settings(tmp_path, package(tmp_path / "m", remote=remote), section)


def test_plain_text_to_another_host_needs_insistence_and_loopback_does_not(tmp_path: Path) -> None:
    model = package(tmp_path / "m", remote=True)
    assert settings(tmp_path, model, {"url": "http://127.0.0.1:8000"}) == RemoteSettings("http://127.0.0.1:8000")
    assert settings(tmp_path, model, {"url": "http://h", "plain_text": True}) is not None


def view(trouble: str = "", serving: str = "big@1.0.0") -> WatcherView:
    stats = WatcherStats(0, {}, 0.0, 0.0, 0, classifier_trouble=trouble, classifier_serving=serving)
    return cast("WatcherView", SimpleNamespace(ready=True, stats=stats))


def model_check(vitals: Vitals) -> tuple[bool, str]:
    shown = MemoryView.__new__(MemoryView)
    shown._vitals = vitals
    check = shown._model_check()
    return check.ok, check.detail


def model_info() -> dict[str, str]:
    (metric,) = metrics.MODEL_INFO.collect()
    (labels,) = (sample.labels for sample in metric.samples if sample.labels["role"] == "acting")
    return {name: value for name, value in labels.items() if name != "role"}


def test_a_fallback_is_seen_everywhere_but_does_the_work() -> None:
    vitals = Vitals(heartbeat_s=0.0, model="big@1.0.0")
    show_classifiers(vitals, [view(), view()])
    assert model_check(vitals) == (True, "big@1.0.0")
    show_classifiers(vitals, [view(), view("classifier_timeout", "small@1.0.0")])
    assert model_check(vitals) == (True, "degraded: small@1.0.0 instead of big@1.0.0 (classifier_timeout)")
    assert metrics.CLASSIFIER_DEGRADED._value.get() == 1
    assert model_info() == {"model": "small@1.0.0", "provider": "fallback"}
    show_classifiers(vitals, [view(), view()])
    assert model_check(vitals) == (True, "big@1.0.0")
    assert metrics.CLASSIFIER_DEGRADED._value.get() == 0
    assert model_info() == {"model": "big@1.0.0", "provider": "kserve_v2"}


def test_no_scores_at_all_are_a_failure() -> None:
    vitals = Vitals(heartbeat_s=0.0, model="big@1.0.0")
    show_classifiers(vitals, [view("classifier_refused", "small@1.0.0"), view("classifier_unreachable", "")])
    assert model_check(vitals) == (False, "classifier_unreachable")
    assert metrics.CLASSIFIER_DEGRADED._value.get() == 2
