"""What is documented exists, and what exists is documented."""

from __future__ import annotations

import importlib
import inspect
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from prometheus_client import Counter, Gauge, Histogram, Info

from monitor import errors, metrics
from monitor.alerts.event_models import EVENT_TYPES
from monitor.alerts.port import Outcome
from monitor.classify.manifest import parse_manifest
from monitor.cli.main import COMMANDS, cli
from monitor.config.models import Config
from monitor.config.reference import setting_paths
from monitor.protocol.decision import Reason
from monitor.shipped import models_dir, protocols_dir
from monitor.vocabulary import AlertEvent, EffectKind, Freshness, ReviewDecision, Severity
from monitor.web import gate
from monitor.web.app import MAIN_ROUTES
from tests.fakes.checkout import ROOT, checked_in_files

DOCS = ROOT / "docs"
FENCE = re.compile(r"^(```|~~~).*?^\1", re.DOTALL | re.MULTILINE)
METRIC_TYPES: dict[type[Any], str] = {Counter: "counter", Gauge: "gauge", Histogram: "histogram", Info: "info"}


def pages_of_text() -> dict[str, str]:
    return {
        path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
        for path in checked_in_files()
        if path.suffix == ".md"
    }


def all_metrics() -> dict[str, Any]:
    found: dict[str, Any] = {}
    for value in vars(metrics).values():
        if type(value) in METRIC_TYPES:
            suffix = {Counter: "_total", Info: "_info"}.get(type(value), "")
            found[value._name + suffix] = value
    return found


def metric_rows() -> dict[str, tuple[str, str]]:
    """Return type and labels, as the page has them, of each documented metric."""
    text = (DOCS / "metrics.md").read_text(encoding="utf-8")
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines()]
    rows = [cells for cells in rows if len(cells) == 4 and cells[0].startswith("`livecordon_")]
    assert len(rows) == len({name for name, *_ in rows}), "a metric has two rows"
    assert all(meaning for *_, meaning in rows)
    return {name.strip("`"): (kind, labels) for name, kind, labels, _ in rows}


def test_every_metric_is_documented_with_its_type_and_labels() -> None:
    documented = {name: (kind, set(_names_before_values(labels))) for name, (kind, labels) in metric_rows().items()}
    real = {
        name: (METRIC_TYPES[type(metric)], set(metric._labelnames) | _info_labels(name))
        for name, metric in all_metrics().items()
    }
    assert documented == real


def _names_before_values(labels: str) -> Iterator[str]:
    for part in labels.split(";"):
        if name := re.match(r"\s*`(\w+)`", part):
            yield name[1]
            yield from re.findall(r"^`\w+`, `(\w+)`$", part.strip())


def _info_labels(name: str) -> set[str]:
    return {"livecordon_build_info": {"version"}, "livecordon_model_info": {"model", "provider"}}.get(name, set())


@pytest.mark.parametrize(
    ("metric", "values"),
    [
        ("livecordon_streams", [freshness.value for freshness in Freshness]),
        ("livecordon_clips_dropped_total", metrics.DROP_REASONS),
        ("livecordon_watcher_restarts_total", metrics.RESTART_REASONS),
        ("livecordon_model_swaps_total", metrics.SWAP_OUTCOMES),
        ("livecordon_detections_total", [Severity.REVIEW.word, Severity.ACT.word]),
        ("livecordon_streams_withheld", metrics.WITHHELD),
        ("livecordon_remains_total", metrics.REMAINS_FOUND),
        ("livecordon_onset_to_contained_seconds", metrics.ROUTES),
        ("livecordon_detection_to_contained_seconds", metrics.ROUTES),
        ("livecordon_decision_to_contained_seconds", [EffectKind.HOLD, EffectKind.CUT]),
        ("livecordon_review_seconds", ReviewDecision),
        ("livecordon_store_seconds", metrics.STORE_OPERATIONS),
        ("livecordon_disk_free_bytes", metrics.DISK_USES),
        ("livecordon_retention_deleted_total", metrics.RETENTION_KINDS),
        ("livecordon_effects_total", [*EffectKind, *metrics.EFFECT_OUTCOMES]),
        ("livecordon_deliveries_total", {*metrics.DELIVERY_OUTCOMES, *Outcome}),
        ("livecordon_partner_events_total", metrics.PARTNER_OUTCOMES),
        ("livecordon_gate_decisions_total", metrics.GATE_ANSWERS),
        ("livecordon_http_requests_total", [*metrics.HTTP_AREAS, *metrics.HTTP_CODES]),
    ],
)
def test_every_value_of_a_closed_label_is_documented(metric: str, values: Any) -> None:
    labels = metric_rows()[metric][1]
    named = set(re.findall(r"`(\w+)`", labels)) - set(all_metrics()[metric]._labelnames)
    assert named == {str(value) for value in values}


def test_every_reason_of_a_transition_is_documented() -> None:
    text = (DOCS / "metrics.md").read_text(encoding="utf-8")
    (paragraph,) = re.findall(r"^`reason` of `livecordon_transitions_total`:(.*?)\. \[", text, re.DOTALL | re.MULTILINE)
    assert re.findall(r"`(\w+)`", paragraph) == [reason.value for reason in Reason]


def test_every_metric_is_kept_up_to_date_somewhere() -> None:
    code = "\n".join(path.read_text() for path in (ROOT / "monitor").rglob("*.py") if path.name != "metrics.py")
    constants = {key for key, value in vars(metrics).items() if type(value) in METRIC_TYPES}
    feeding = r"\b(?!,|$)[^\n]*\.(inc|set|set_function|observe|info|time)\("
    unused = {name for name in constants if not re.search(rf"\b{name}{feeding}", code)}
    assert unused == set()


def test_no_page_names_a_metric_that_does_not_exist() -> None:
    known = set()
    for name, metric in all_metrics().items():
        known |= {name, *(f"{name}{end}" for end in ("_bucket", "_sum", "_count") if isinstance(metric, Histogram))}
    named = {
        (page, name)
        for page, text in pages_of_text().items()
        for name in re.findall(r"\blivecordon_[a-z0-9_]+", text)
        if name != "livecordon_session"  # the page's cookie
    }
    assert {(page, name) for page, name in named if name not in known} == set()


def test_prometheus_understands_every_expression(tmp_path: Path) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        if os.environ.get("CI") == "true":
            pytest.fail("needs promtool: make packages installs it")
        pytest.skip("needs promtool: make packages installs it")
    text = (DOCS / "metrics.md").read_text(encoding="utf-8")
    expressions = re.findall(r"^- .*?: `(.+)`$", text, re.MULTILINE)
    assert len(expressions) >= 3
    rules = [{"alert": f"A{number}", "expr": expression} for number, expression in enumerate(expressions)]
    (tmp_path / "rules.yml").write_text(yaml.safe_dump({"groups": [{"name": "documented", "rules": rules}]}))
    done = subprocess.run(
        [promtool, "check", "rules", "rules.yml"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def command_sections() -> dict[str, str]:
    text = (DOCS / "commands.md").read_text(encoding="utf-8")
    parts = re.split(r"^## `livecordon ([a-z-]+)`$", text, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def existing_commands() -> dict[str, click.Command]:
    context = click.Context(cli)
    found = {name: cli.get_command(context, name) for name in cli.list_commands(context)}
    return {name: command for name, command in found.items() if command is not None}


def options_of(command: click.Command) -> Iterator[click.Option]:
    """Yield a command's options; those of a group are its commands' too."""
    yield from (option for option in command.params if isinstance(option, click.Option))
    if isinstance(command, click.Group):
        for inner in command.commands.values():
            yield from options_of(inner)


def test_every_command_of_a_group_is_documented() -> None:
    for name, command in existing_commands().items():
        if isinstance(command, click.Group):
            assert set(re.findall(rf"^### `{name} ([a-z-]+)", command_sections()[name], re.MULTILINE)) == set(
                command.commands
            )


def test_every_command_is_documented() -> None:
    assert set(command_sections()) == set(existing_commands())
    assert set(existing_commands()) == set(COMMANDS)


@pytest.mark.parametrize("name", sorted(existing_commands()))
def test_every_option_is_documented(name: str) -> None:
    rows = re.findall(r"^\| `(--[^`]+)` \|", command_sections()[name], re.MULTILINE)
    documented = {row.split(" ")[0]: row for row in rows}
    command = existing_commands()[name]
    options = {option.opts[0]: option for option in options_of(command)}
    assert set(documented) == set(options)
    for long_name, option in options.items():
        if isinstance(option.type, click.Choice):
            assert f"[{'|'.join(option.type.choices)}]" == documented[long_name].partition(" ")[2].replace("\\", "")
        else:
            assert option.is_flag == (" " not in documented[long_name]), long_name


def test_no_page_names_a_command_or_option_that_does_not_exist() -> None:
    commands = existing_commands()
    wrong = []
    for page, text in pages_of_text().items():
        spans = [span[0] for span in FENCE.finditer(text)] + re.findall(r"`([^`\n]+)`", FENCE.sub("", text))
        for span in spans:
            # Continuations belong to the line that they continue.
            for line in span.replace("\\\n", " ").splitlines():
                if not (found := re.search(r"(?:^|[ /$])livecordon ((?:[a-z][a-z-]+)|--\w+)\b(.*)", line)):
                    continue
                name = found[1]
                if name.startswith("--"):
                    wrong += [(page, line)] if name not in ("--help", "--version") else []
                elif name not in commands:
                    wrong.append((page, line))
                else:
                    known = {word for option in options_of(commands[name]) for word in option.opts} | {"--help"}
                    wrong += [(page, given) for given in re.findall(r" (--[a-z-]+)", found[2]) if given not in known]
    assert wrong == []


def test_every_setting_is_documented() -> None:
    text = (DOCS / "configuration.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^\| `([a-z_.\[\]]+)` \| [^=|]+ \| [^|]* \| ", text, re.MULTILINE)) == set(setting_paths())


def test_no_page_names_a_setting_that_does_not_exist() -> None:
    known = set(setting_paths())
    known |= {path.rpartition(".")[0] for path in known}
    sections = "|".join(name for name in Config.model_fields if name != "servers")
    named = {
        (page, name)
        for page, text in pages_of_text().items()
        for name in re.findall(rf"`((?:{sections})\.[a-z_]+)\b(?!\.py)(?![/(])", text)
        if not name.endswith((".py", ".md", ".yaml"))
    }
    assert named
    assert {(page, name) for page, name in named if name not in known} == set()


def test_every_event_type_is_documented() -> None:
    text = (DOCS / "events.md").read_text(encoding="utf-8")
    types = set(EVENT_TYPES)
    assert {f"livecordon.incident.{event.value}" for event in AlertEvent} <= types
    assert set(re.findall(r"^### `(livecordon\.[a-z._]+)`$", text, re.MULTILINE)) == types
    for page, other in pages_of_text().items():
        assert set(re.findall(r"\blivecordon\.incident\.[a-z_]+", other)) <= types, page


def test_no_page_names_a_route_that_does_not_exist() -> None:
    routes = {route.path for route in (*MAIN_ROUTES, *gate.ROUTES)}
    shapes = [re.compile(re.sub(r"\\\{\w+\\\}", "[^/]+", re.escape(route))) for route in routes]
    own = r"/(?:api/v1|gate|incidents|blocks|livez|readyz|startupz|healthz|metrics|events|fragments)\b[a-z0-9_{}/$-]*"
    wrong = {
        (page, path)
        for page, text in pages_of_text().items()
        for path in re.findall(rf"(?:`(?:GET |POST |DELETE )?|127\.0\.0\.1:8930)({own})", text)
        if not any(shape.fullmatch(path.rstrip("/")) for shape in shapes)
    }
    assert wrong == set()


def test_every_shipped_protocol_is_explained_to_operators_and_responders() -> None:
    names = {path.stem for path in protocols_dir().glob("*.yaml")}
    responders = (DOCS / "responders.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^### (\w+)$", responders, re.MULTILINE)) == names
    for name in names:
        assert f"(../protocols/{name}.yaml)" in (DOCS / "protocols.md").read_text(encoding="utf-8")


def test_every_shipped_model_has_a_card_that_is_linked() -> None:
    index = (DOCS / "README.md").read_text(encoding="utf-8")
    for manifest in models_dir().glob("*/manifest.yaml"):
        assert f"(../models/{manifest.parent.name}/MODEL_CARD.md)" in index


def test_the_readme_tells_the_rates_that_were_measured() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    found = re.search(
        r"about (\d+) % of half-second windows of real\s+fights high, and about (\d+) % of ordinary ones; "
        r"for sport and dance\s+about (\d+) %",
        readme,
    )
    assert found is not None
    file = models_dir() / "violent-motion" / "manifest.yaml"
    manifest, _ = parse_manifest(file.read_bytes(), str(file))
    measured = manifest.operating_points["violence"].measured
    rates = {(rate.what, rate.on.partition(";")[0]): round(100 * rate.rate) for rate in measured if rate.at == "review"}
    wanted = [
        rates["recall", "fights (scfd)"],
        rates["false_alarms", "all normal clips"],
        rates["false_alarms", "sport, dance, games (active)"],
    ]
    assert [int(number) for number in found.groups()] == wanted


def test_every_error_and_its_reason_are_documented() -> None:
    text = (DOCS / "architecture.md").read_text(encoding="utf-8")
    classes = [
        value for value in vars(errors).values() if inspect.isclass(value) and issubclass(value, errors.LivecordonError)
    ]
    assert len(classes) > 15
    rows: dict[str, str] = {}
    for names, reasons in re.findall(r"^\| (`[A-Z].*?) \| (`[a-z_`;, ]+`) \|$", text, re.MULTILINE):
        rows.update(zip(re.findall(r"`(\w+)`", names), re.findall(r"`(\w+)`", reasons), strict=True))
    assert rows == {error.__name__: error.reason for error in classes}


def test_every_module_that_is_named_exists() -> None:
    wrong = []
    for page in ("THREAT_MODEL.md", "docs/architecture.md", "docs/operate.md"):
        for name in re.findall(r"`([a-z_]+(?:/[a-z_]+)*(?:\.py|/))`", pages_of_text()[page]):
            places = (ROOT / name, ROOT / "monitor" / name, ROOT / "monitor" / "servers" / "nginx_rtmp" / name)
            if not any(place.exists() for place in places):
                wrong.append((page, name))
    rooms = re.findall(r"^\| `([a-z_]+)` \| .+ \|$", pages_of_text()["docs/architecture.md"], re.MULTILINE)
    folders = {path.parent.name for path in (ROOT / "monitor").glob("*/__init__.py")}
    assert wrong == []
    assert set(rooms) == folders
    for name in re.findall(r"`(monitor\.[a-z_.]+)`", "\n".join(pages_of_text().values())):
        assert importlib.util.find_spec(name) is not None, name
