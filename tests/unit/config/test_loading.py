from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from monitor.config.loading import LoadedConfig, load_config
from monitor.config.schema import config_schema
from monitor.config.servers import StaticServer
from monitor.errors import ConfigError, Problem
from monitor.shipped import example_config

SMALLEST = "servers:\n  - {name: demo, kind: embedded}\n"
CANARY = "c4n4ry-0f6e2"


def load(folder: Path, text: str, **environ: str) -> LoadedConfig:
    file = folder / "config.yaml"
    file.write_text(text)
    return load_config(file, environ)


def told(folder: Path, text: str, **environ: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(folder, text, **environ)
    return [str(problem).replace(f"{folder}/", "") for problem in caught.value.problems]


def test_the_smallest_file_gives_the_defaults(tmp_path: Path) -> None:
    config = load(tmp_path, SMALLEST).config
    assert config.web.listen == "127.0.0.1:8930"
    assert config.effects.cut_deadline == 30.0
    assert (config.detection.act.hits, config.detection.act.of) == (4, 6)


def test_half_a_level_keeps_the_other_half_of_its_own_defaults(tmp_path: Path) -> None:
    config = load(tmp_path, SMALLEST + "detection: {act: {threshold: 0.9}}\n").config
    assert (config.detection.act.hits, config.detection.act.of) == (4, 6)


def test_units_are_converted(tmp_path: Path) -> None:
    text = SMALLEST + "web: {max_body: 1MiB}\neffects: {cut_deadline: 1.5m, hold_off: 250ms}\n"
    config = load(tmp_path, text).config
    assert (config.web.max_body, config.effects.cut_deadline, config.effects.hold_off) == (1024**2, 90.0, 0.25)


def test_sections_with_every_line_commented_out_mean_defaults(tmp_path: Path) -> None:
    assert load(tmp_path, SMALLEST + "web:\nstore:\nlog:\n").config.store.path is None


def test_relative_paths_are_taken_from_the_files_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "config.yaml").write_text(
        "data_dir: data\n"
        "store: {path: /var/x.sqlite3}\n"
        "protocol: {directory: ../protocols}\n"
        "watch: {model: models/mine, models_dir: models}\n"
        "servers:\n"
        "  - name: cameras\n"
        "    kind: static\n"
        "    streams: [{name: a, url: clips/a.mp4}, {name: b, url: 'rtsp://10.0.0.9/b'}, {name: c, url: '${C}/c'}]\n"
    )
    monkeypatch.chdir(tmp_path)
    config = load_config(Path("etc/config.yaml"), {"C": "x"}).config
    etc = tmp_path / "etc"
    assert config.data_dir == etc / "data"
    assert config.store_path == Path("/var/x.sqlite3")
    assert config.evidence_directory == etc / "data" / "evidence"
    assert config.protocol.directory == etc / "../protocols"
    assert (config.watch.model, config.watch.models_dir) == (str(etc / "models/mine"), etc / "models")
    cameras = config.servers[0]
    assert isinstance(cameras, StaticServer)
    assert [stream.url for stream in cameras.streams] == [str(etc / "clips/a.mp4"), "rtsp://10.0.0.9/b", "${C}/c"]


def test_a_models_name_is_no_path(tmp_path: Path) -> None:
    assert load(tmp_path, SMALLEST).config.watch.model == "violent-motion"


def test_without_a_name_the_working_directory_and_then_the_example_are_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    loaded = load_config(None, {})
    assert loaded.file == example_config()
    assert loaded.config.data_dir == tmp_path / "livecordon-data"
    (tmp_path / "config.yaml").write_text(SMALLEST + "data_dir: mine\n")
    loaded = load_config(None, {})
    assert loaded.document.file == "config.yaml"
    assert loaded.config.data_dir == tmp_path / "mine"


def test_a_missing_file_and_a_folder_are_told(tmp_path: Path) -> None:
    for path, words in ((tmp_path / "none.yaml", "there is no such file"), (tmp_path, "Is a directory")):
        with pytest.raises(ConfigError, match=words):
            load_config(path, {})


def test_a_huge_file_is_not_read_whole(tmp_path: Path) -> None:
    assert "larger than 1024 KiB" in told(tmp_path, "#" * 2_000_000)[0]


class TestEnvironment:
    def test_values_replace_those_of_the_file(self, tmp_path: Path) -> None:
        config = load(
            tmp_path,
            SMALLEST + "web: {max_body: 1KiB}\n",
            LIVECORDON_DRY_RUN="true",
            LIVECORDON_WEB__LISTEN="127.0.0.1:0",
            LIVECORDON_SERVERS__0__DRY_RUN="true",
            LIVECORDON_SERVERS__0__LIST_INTERVAL="500ms",
            LIVECORDON_DETECTION__ACT__THRESHOLD="0.75",
            LIVECORDON_DATA_DIR="elsewhere",
        ).config
        assert (config.dry_run, config.web.listen, config.web.max_body) == (True, "127.0.0.1:0", 1024)
        assert (config.servers[0].dry_run, config.servers[0].list_interval) == (True, 0.5)
        assert (config.detection.act.threshold, config.detection.review.threshold) == (0.75, None)
        assert config.data_dir == tmp_path / "elsewhere"

    def test_an_entry_can_be_added(self, tmp_path: Path) -> None:
        config = load(
            tmp_path,
            SMALLEST,
            LIVECORDON_SERVERS__1__KIND="static",
            LIVECORDON_SERVERS__1__NAME="cameras",
            LIVECORDON_SERVERS__1__STREAMS__0__NAME="door",
            LIVECORDON_SERVERS__1__STREAMS__0__URL="rtsp://10.0.0.9/door",
        ).config
        assert [server.name for server in config.servers] == ["demo", "cameras"]

    def test_variables_that_settings_name_are_no_settings(self, tmp_path: Path) -> None:
        loaded = load(
            tmp_path,
            "web: {gate_token: {env: LIVECORDON_GATE_TOKEN}}\n"
            "servers:\n"
            "  - {name: a, kind: static, streams: [{name: b, url: 'rtsp://${LIVECORDON_LOGIN}@h/'}]}\n",
            LIVECORDON_GATE_TOKEN="0123456789abcdef",
            LIVECORDON_LOGIN="me",
            LIVECORDON_ADA="0123456789abcdefx",
            LIVECORDON_WEB__TOKENS="[{name: ada, role: admin, secret: {env: LIVECORDON_ADA}}]",
        )
        assert loaded.config.web.tokens[0].name == "ada"
        loaded = load(
            tmp_path,
            SMALLEST + "web:\n  gate_token: {file: nowhere}\n",
            LIVECORDON_WEB__GATE_TOKEN="{}",
            LIVECORDON_WEB__GATE_TOKEN__ENV="LIVECORDON_GATE",
            LIVECORDON_GATE="0123456789abcdef",
        )
        assert loaded.config.web.gate_token is not None
        assert loaded.config.web.gate_token.env == "LIVECORDON_GATE"

    def test_unknown_and_impossible_variables_are_named(self, tmp_path: Path) -> None:
        lines = told(
            tmp_path,
            SMALLEST,
            LIVECORDON_WEB__LISDEN="127.0.0.1:1",
            LIVECORDON_SERVERS__5__DRY_RUN="true",
            LIVECORDON_DATA_DIR__DEEPER="x",
            LIVECORDON_DRY_RUN__DEEPER="x",
            LIVECORDON_LOG__LEVEL=CANARY,
        )
        lines = [lines[0], *sorted(lines[1:])]
        assert lines == [
            "LIVECORDON_SERVERS__5__DRY_RUN: servers: there is no such entry: count from 0; 1 would add one",
            "LIVECORDON_DATA_DIR__DEEPER: data_dir: this is no path: write one, or remove the line",
            "LIVECORDON_DRY_RUN__DEEPER: dry_run: this is neither true nor false: write one of them",
            "LIVECORDON_LOG__LEVEL: log.level: there is no such choice: use debug, info, warning or error",
            "LIVECORDON_WEB__LISDEN: web.lisden: there is no such setting: did you mean listen?",
        ]

    def test_empty_variables_and_those_of_kubernetes_change_nothing(self, tmp_path: Path) -> None:
        load(
            tmp_path,
            SMALLEST,
            LIVECORDON_DRY_RUN="",
            LIVECORDON_NONSENSE="",
            LIVECORDON_CONFIG="/etc/x.yaml",
            LIVECORDON_SERVICE_HOST="10.0.0.1",
            LIVECORDON_SERVICE_PORT_HTTP="8930",
            LIVECORDON_PORT="tcp://10.0.0.1:8930",
            LIVECORDON_PORT_8930_TCP_ADDR="10.0.0.1",
            LIVECORDON_WEB_SERVICE_HOST="10.0.0.1",
        )

    def test_problems_point_at_the_variable_or_the_line(self, tmp_path: Path) -> None:
        loaded = load(tmp_path, SMALLEST + "protocol:\n  default: assisted\n", LIVECORDON_SERVERS__0__PROTOCOL="mine")
        assert str(loaded.problem(("protocol", "default"), "a", "b")).endswith("config.yaml:4: protocol.default: a: b")
        assert str(loaded.problem(("servers", 0, "protocol"), "a")) == (
            "LIVECORDON_SERVERS__0__PROTOCOL: servers[0].protocol: a"
        )


LEAVES = [f"{CANARY}", f"whsec_{CANARY}", f"rtmp://user:{CANARY}@h/{CANARY}", f"ftp://{CANARY}", f"{CANARY}: x", "20s"]
PATHS = st.sampled_from([*config_schema()["properties"], "unheard_of"])
ANYTHING = st.recursive(
    st.sampled_from([*LEAVES, 5, 1.5, True, None]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["name", "kind", "url", "listen", "env", "file", "secrets", "tokens", "act", "default"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=10,
)


@given(st.dictionaries(PATHS, ANYTHING, min_size=1, max_size=4))
def test_whatever_stands_in_the_file_no_value_is_told(tmp_path_factory: pytest.TempPathFactory, data: Any) -> None:
    file = tmp_path_factory.getbasetemp() / "anything.yaml"
    file.write_text(yaml.safe_dump(data))
    problems: tuple[Problem, ...] = ()
    try:
        load_config(file, {})
    except ConfigError as failure:
        problems = failure.problems
    for problem in problems:
        assert CANARY not in str(problem)
        assert problem.what
        assert "\n" not in str(problem)
