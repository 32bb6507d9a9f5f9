"""A daemon whose model is on an inference server, while that server comes and goes."""

from __future__ import annotations

from pathlib import Path

import pytest

from monitor.demo.stage import free_port
from tests.fakes import model_packages as toys
from tests.fakes.daemon import RealDaemon
from tests.fakes.footage import Footage, film
from tests.fakes.kserve_server import inference_server
from tests.fakes.waiting import eventually

TOKEN = "LIVECORDON_TEST_INFERENCE_TOKEN"


@pytest.mark.timeout(120)
async def test_the_fallback_is_loud_and_the_way_back_is_found(tmp_path: Path) -> None:
    local = toys.write_motion_package(tmp_path / "toy-motion")
    manifest = {**toys.motion_manifest(), "name": "toy-remote", "remote": {"protocol": "kserve_v2", "model": "toy"}}
    del manifest["file"]
    remote = toys.write_motion_package(tmp_path / "toy-remote", manifest=manifest)
    video = film(tmp_path / "v.mp4", Footage(duration_s=30, frame_rate=15, width=64, height=48, gop_s=1.0))
    with inference_server(local / "model.onnx") as server:
        server.token = "a-token-for-tests"
        config = {
            "web": {"listen": f"127.0.0.1:{free_port()}"},
            "servers": [
                {
                    "name": "files",
                    "kind": "static",
                    "streams": [{"name": "one", "url": str(video)}],
                    "loop_files": True,
                    "protocol": "observe",
                }
            ],
            "watch": {
                "watchers": 1,
                "model": str(remote),
                "remote": {
                    "url": server.url,
                    "timeout": "500ms",
                    "token": {"env": TOKEN},
                    "failures": 2,
                    "retry": "300ms",
                    "fallback": str(local),
                },
            },
        }
        async with RealDaemon(tmp_path, config, environ={TOKEN: server.token}) as daemon:

            async def model_line() -> str:
                lines = (await daemon.text("/readyz?verbose")).splitlines()
                return next((line for line in lines if "] model" in line), "")

            async def says(*words: str) -> bool:
                line, numbers = await model_line(), await daemon.text("/metrics")
                return all(word in line + numbers for word in words)

            await eventually(lambda: says("[+] model: toy-remote@1.2.3", "livecordon_clips_fallback_total 0.0"))
            server.mood = "reset"
            await eventually(
                lambda: says(
                    "[+] model: degraded: toy-motion@1.2.3 instead of toy-remote@1.2.3 (classifier_unreachable)",
                    'livecordon_model_info{model="toy-motion@1.2.3",provider="fallback",role="acting"} 1.0',
                ),
                deadline_s=30,
            )
            assert not await says("livecordon_classifier_degraded_watchers 0.0")
            assert "toy-motion@1.2.3 instead of" in await daemon.text("/")
            await eventually(lambda: fallback_used(daemon), deadline_s=30)
            server.mood = "well"
            await eventually(
                lambda: says(
                    "[+] model: toy-remote@1.2.3",
                    "livecordon_classifier_degraded_watchers 0.0",
                    'livecordon_model_info{model="toy-remote@1.2.3",provider="kserve_v2",role="acting"} 1.0',
                ),
                deadline_s=30,
            )
            assert "remote_classifier_lost" in daemon.log
            assert "remote_classifier_back" in daemon.log
            assert server.token not in daemon.log
            assert server.url not in daemon.log
            assert await daemon.stop() == 0


async def fallback_used(daemon: RealDaemon) -> bool:
    return "livecordon_clips_fallback_total 0.0" not in await daemon.text("/metrics")
