"""HLS of test pictures that goes on for as long as somebody publishes."""

from __future__ import annotations

import time

from aiohttp import web

from tests.fakes.publications import pictures

_SEGMENT_S = 2
_LISTED = 3


def serve_file(file: str, *, began_at: float) -> web.Response:
    """Answer with the playlist or a segment of what began at that Unix time."""
    if file == "index.m3u8":
        first = max(0, int((time.time() - began_at) / _SEGMENT_S))
        lines = ["#EXTM3U", "#EXT-X-VERSION:3", f"#EXT-X-TARGETDURATION:{_SEGMENT_S}", f"#EXT-X-MEDIA-SEQUENCE:{first}"]
        for number in range(first, first + _LISTED):
            lines += [f"#EXTINF:{_SEGMENT_S}.0,", f"seg{number}.ts"]
        return web.Response(text="\n".join(lines) + "\n", content_type="application/vnd.apple.mpegurl")
    segment = file.removeprefix("seg").removesuffix(".ts")
    if not segment.isdigit():
        return web.Response(status=404)
    body = pictures("mpegts", start_s=int(segment) * _SEGMENT_S, seconds=_SEGMENT_S)
    return web.Response(body=body, content_type="video/mp2t")
