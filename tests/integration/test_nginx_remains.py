"""HLS of a real nginx-rtmp after a cut: it stays to be seen, unless it is taken away."""

from __future__ import annotations

from pathlib import Path

import pytest

from monitor.config.section import RemainsSection
from monitor.demo.nginx import RealNginx
from monitor.effects.remains import Remains
from monitor.servers.nginx_rtmp.adapter import NginxRtmpMediaServer
from monitor.vocabulary import StreamRef
from tests.fakes.nginx import section_for
from tests.fakes.publishers import ffmpeg_publishing
from tests.fakes.waiting import eventually

pytestmark = [pytest.mark.real_server, pytest.mark.timeout(120)]

CAM = StreamRef("edge", "live", "cam")


async def test_what_a_cut_leaves_is_seen_and_purged_and_the_neighbours_hls_goes_on(tmp_path: Path) -> None:
    async with (
        RealNginx(tmp_path, hls=True) as nginx,
        NginxRtmpMediaServer(section_for(nginx)) as server,
        ffmpeg_publishing(f"{nginx.rtmp_url}/live/cam"),
        ffmpeg_publishing(f"{nginx.rtmp_url}/live/cam-2") as innocent,
    ):
        folder = nginx.hls_folder

        async def written() -> bool:
            return all(
                (folder / f"{name}.m3u8").exists() and (folder / f"{name}-1.ts").exists() for name in ("cam", "cam-2")
            )

        await eventually(written, deadline_s=60)
        assert (await server.cut(CAM)).verified

        address = f"{nginx.hls_url}/{{name}}.m3u8"
        async with Remains({"edge": RemainsSection(folder=folder, address=address)}) as remains:
            left = await remains.after(CAM)
        assert left["playlist_readable"] is True
        assert left["remaining_files"] == left["written_files"]
        assert int(str(left["written_files"])) >= 3

        async with Remains({"edge": RemainsSection(folder=folder, address=address, purge=True)}) as remains:
            purged = await remains.after(CAM)
        assert (purged["playlist_readable"], purged["remaining_files"]) == (False, 0)
        assert purged["purged_files"] == left["written_files"]

        names = {file.name for file in folder.iterdir()}
        assert "cam-2.m3u8" in names
        assert not {name for name in names if not name.startswith("cam-2")}
        assert innocent.returncode is None
