from __future__ import annotations

import io

import av
import numpy as np
from numpy.typing import NDArray

from monitor.video.live_encoder import LiveEncoder


def moving(number: int, *, width: int = 640, height: int = 480) -> NDArray[np.uint8]:
    picture = np.zeros((height, width, 3), np.uint8)
    picture[:, (number * 16) % width :][:, :32] = (200, 40, 40)
    return picture


def decoded(data: bytes) -> list[av.VideoFrame]:
    with av.open(io.BytesIO(data), "r") as container:
        return list(container.decode(video=0))


def test_pictures_come_out_as_they_went_in_only_smaller() -> None:
    encoder = LiveEncoder()
    data = b"".join(encoder.encode(moving(number), 100 + number / 10) for number in range(25)) + encoder.close()

    frames = decoded(data)

    assert [(frame.width, frame.height) for frame in frames] == [(480, 360)] * 25
    assert np.allclose(np.diff([frame.time for frame in frames]), 0.1, atol=0.001)
    assert sum(frame.key_frame for frame in frames) == 3
    red, green, _ = frames[5].to_ndarray(format="rgb24")[180, 65]
    assert red > 150
    assert green < 80


def test_each_picture_is_sent_when_it_is_made() -> None:
    encoder = LiveEncoder()
    sent = b""
    for number in range(4):
        chunk = encoder.encode(moving(number), number / 10)
        assert len(chunk) % 188 == 0
        assert chunk
        sent += chunk

    assert len(decoded(sent)) >= 3


def test_a_camera_that_is_turned_goes_on_in_the_same_stream() -> None:
    encoder = LiveEncoder()
    data = b"".join(encoder.encode(moving(number), number / 10) for number in range(10))
    data += b"".join(encoder.encode(moving(number, width=361, height=799), number / 10) for number in range(10, 20))
    data += encoder.close()

    frames = decoded(data)

    assert {(frame.width, frame.height) for frame in frames} == {(480, 360), (360, 796)}
    assert len(frames) == 20


def test_clocks_that_stand_still_or_go_back_break_nothing() -> None:
    encoder = LiveEncoder()
    data = b"".join(encoder.encode(moving(number), time_s) for number, time_s in enumerate((5, 5, 4, 6)))

    assert len(decoded(data + encoder.close())) == 4
