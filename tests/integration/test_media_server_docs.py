"""The configuration that operators are told to paste is one that nginx accepts, and the one that the tests run."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest
import yaml
from pydantic import TypeAdapter

from monitor.config.servers import AnyServer
from monitor.demo.nginx import find_nginx, nginx_configuration, two_free_ports

DOCS = Path(__file__).parents[2] / "docs" / "media-servers"
_SERVERS: TypeAdapter[list[AnyServer]] = TypeAdapter(list[AnyServer])


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", (DOCS / page).read_text(), re.DOTALL)


@pytest.mark.real_server
@pytest.mark.parametrize("strict", [False, True])
def test_nginx_accepts_the_configuration_to_paste(tmp_path: Path, strict: bool) -> None:
    program, module = find_nginx()
    rtmp, http = blocks("nginx-rtmp.md", "nginx")
    if strict:
        rtmp = rtmp.replace("http://127.0.0.1:8080/livecordon-gate", "http://127.0.0.1:8930/gate/nginx")
    user = "user root;" if os.geteuid() == 0 else ""
    # Even a trial run binds, and the ports on the page may be in use here.
    rtmp_port, http_port = two_free_ports()
    rtmp = rtmp.replace("listen 1935;", f"listen 127.0.0.1:{rtmp_port};")
    http = http.replace("listen 127.0.0.1:8080;", f"listen 127.0.0.1:{http_port};")
    configuration = tmp_path / "nginx.conf"
    configuration.write_text(
        f"load_module {module};\n{user}\nworker_processes 1;\npid {tmp_path}/pid;\nevents {{}}\n{rtmp}\nhttp {{ {http} }}"
    )

    checked = subprocess.run(
        [program, "-t", "-q", "-e", tmp_path / "log", "-c", configuration], check=False, capture_output=True, text=True
    )

    assert checked.returncode == 0, checked.stderr


def directives(text: str) -> set[str]:
    plain = re.sub(r"#.*", "", text)
    return {" ".join(part.split()) for part in re.split(r"[;{}]", plain) if part.strip()}


def test_the_page_and_the_tests_use_the_same_directives() -> None:
    page = set[str]().union(*(directives(block) for block in blocks("nginx-rtmp.md", "nginx")))
    run = directives(
        nginx_configuration(
            Path("/tmp"),
            module=Path("/m.so"),
            rtmp_port=1935,
            http_port=8080,
            gate_url="http://127.0.0.1:8930/gate/nginx",
        )
    )

    assert page - run == {"listen 1935"}


@pytest.mark.parametrize(
    "page", ["nginx-rtmp.md", "mediamtx.md", "livekit.md", "embedded.md", "static.md", "srs.md", "ovenmediaengine.md"]
)
def test_the_entries_for_config_yaml_are_valid(page: str) -> None:
    (entry,) = blocks(page, "yaml")

    (section,) = _SERVERS.validate_python(yaml.safe_load(entry)["servers"])

    assert section.kind.partition("_")[0] == page.partition(".")[0].partition("-")[0]
