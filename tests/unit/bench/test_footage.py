from __future__ import annotations

from itertools import islice, pairwise
from pathlib import Path

import av
import numpy as np
import pytest

from monitor.bench.footage import GOP_S, RECIPES, Recipe, cache_dir, decode_s, loop_file, make_loops, packets, repeat
from monitor.bench.scene import FRAME_RATE, draw

LOOP_S = 4
WITH_B = Recipe("small", 320, 180, 400_000, 3)
WITHOUT_B = Recipe("small zerolatency", 320, 180, 400_000, 0)


@pytest.fixture(scope="module")
def loops(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("loops")
    return make_loops(folder, [WITH_B, WITHOUT_B], on_frame=lambda _done, _total: None, loop_s=LOOP_S)


def kinds(file: Path) -> str:
    with av.open(str(file)) as container:
        return "".join("?IPB"[frame.pict_type] for frame in container.decode(video=0))


def test_streams_are_made_as_encoders_make_them(loops: dict[str, Path]) -> None:
    with_b, without_b = (kinds(loops[recipe.name]) for recipe in (WITH_B, WITHOUT_B))
    group = GOP_S * FRAME_RATE
    for shown in (with_b, without_b):
        assert len(shown) == LOOP_S * FRAME_RATE
        assert [number for number, kind in enumerate(shown) if kind == "I"] == [0, group]
    assert with_b.count("B") > group
    assert "BBBB" not in with_b
    assert "B" not in without_b


def test_bit_rate_sound_and_size_are_as_the_recipe_says(loops: dict[str, Path]) -> None:
    with av.open(str(loops["small"])) as container:
        video, sound = container.streams.video[0], container.streams.audio[0]
        assert (video.codec_context.name, video.width, video.height) == ("h264", 320, 180)
        assert sound.codec_context.name == "aac"
        sizes = {video.index: 0, sound.index: 0}
        for packet in container.demux():
            if packet.size:
                sizes[packet.stream_index] += packet.size
        assert sizes[video.index] * 8 / LOOP_S == pytest.approx(400_000, rel=0.3)
        assert sizes[sound.index] > 0


def test_what_is_kept_is_not_made_again(tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    first = make_loops(tmp_path, [WITH_B], on_frame=lambda done, total: told.append((done, total)), loop_s=2)
    assert told[-1] == (60, 60)
    told.clear()
    assert make_loops(tmp_path, [WITH_B], on_frame=lambda done, total: told.append((done, total)), loop_s=2) == first
    assert told == []
    assert [path.name for path in tmp_path.iterdir()] == [first["small"].name]


def test_nothing_half_made_is_left_behind(tmp_path: Path) -> None:
    def interrupt(done: int, _total: int) -> None:
        if done == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_loops(tmp_path, [WITH_B], on_frame=interrupt, loop_s=2)
    assert list(tmp_path.iterdir()) == []


def test_another_recipe_is_another_file(tmp_path: Path) -> None:
    recipes = [*RECIPES, Recipe("720p30", 1280, 720, 2_000_000, 3)]
    assert len({loop_file(tmp_path, recipe) for recipe in recipes}) == len(recipes)
    assert loop_file(tmp_path, RECIPES[0]) != loop_file(tmp_path, RECIPES[0], 2)


def test_repetitions_join_on_one_line_of_time(loops: dict[str, Path], tmp_path: Path) -> None:
    length_s = 3 * LOOP_S - 2
    path = repeat(loops["small"], tmp_path / "long.flv", length_s, LOOP_S)
    with av.open(str(path)) as container:
        times_s = [frame.time for frame in container.decode(video=0)]
    assert len(times_s) == length_s * FRAME_RATE
    gaps_s = [later - earlier for earlier, later in pairwise(times_s)]
    assert min(gaps_s) > 0.030
    assert max(gaps_s) < 0.037


def test_packets_never_end_and_their_times_never_fall(loops: dict[str, Path]) -> None:
    times_s = [decode_s(packet) for packet in islice(packets(loops["small"], LOOP_S), 900)]
    assert times_s == sorted(times_s)
    assert times_s[-1] > 2 * LOOP_S


def test_the_scene_is_the_same_each_time_and_never_still() -> None:
    first, again = (list(islice(draw(160, 90, seed=3), 4)) for _ in range(2))
    for one, other in zip(first, again, strict=True):
        assert one.shape == (90, 160, 3)
        assert one.dtype == np.uint8
        assert np.array_equal(one, other)
    assert not np.array_equal(first[0], first[1])
    # Texture, not flat colours: neighbouring pixels differ.
    assert np.abs(np.diff(first[0].astype(int), axis=1)).mean() > 2


def test_footage_is_kept_below_the_users_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_dir() == tmp_path / "livecordon" / "bench"
    assert cache_dir().is_dir()
    blocked = tmp_path / "file"
    blocked.write_text("no folder")
    monkeypatch.setenv("XDG_CACHE_HOME", str(blocked))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    assert cache_dir().parent == tmp_path
