from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from monitor.watch.messages import EvidenceFrame, EvidenceScore
from monitor.watch.recent import RecentSamples


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def frame(arrived_at: float, size_bytes: int = 10) -> EvidenceFrame:
    return EvidenceFrame(time_s=arrived_at, arrived_at=arrived_at, jpeg=b"x" * size_bytes)


def score(at: float) -> EvidenceScore:
    return EvidenceScore(clip_start_s=at, clip_end_s=at + 1, scores=(0.5,))


def test_the_last_minute_is_kept_and_nothing_older() -> None:
    recent = RecentSamples()
    recent.watch("a")
    for second in range(200):
        recent.add_frame("a", frame(second))
        recent.add_score("a", second, score(second))
    evidence = recent.evidence(7, "a")
    assert (evidence.request_id, evidence.stream_id) == (7, "a")
    assert [kept.arrived_at for kept in evidence.frames] == list(range(139, 200))
    assert [kept.clip_start_s for kept in evidence.scores] == list(range(139, 200))


def test_a_released_stream_is_remembered_for_two_minutes_and_takes_nothing_new() -> None:
    clock = Clock()
    recent = RecentSamples(monotonic_s=clock)
    recent.watch("a")
    recent.add_frame("a", frame(1))
    recent.release("a")
    recent.add_frame("a", frame(2))
    clock.now_s = 120
    assert len(recent.evidence(1, "a").frames) == 1
    clock.now_s = 120.1
    assert recent.evidence(1, "a").frames == ()
    assert recent.size_bytes == 0


def test_a_stream_that_comes_back_keeps_what_was_there() -> None:
    clock = Clock()
    recent = RecentSamples(monotonic_s=clock)
    recent.watch("a")
    recent.add_frame("a", frame(1))
    recent.release("a")
    recent.watch("a")
    recent.add_frame("a", frame(2))
    clock.now_s = 1000
    assert len(recent.evidence(1, "a").frames) == 2


def test_an_unknown_stream_has_no_evidence_and_takes_none() -> None:
    recent = RecentSamples()
    recent.add_frame("a", frame(1))
    recent.add_score("a", 1, score(1))
    assert recent.evidence(1, "a").frames == ()
    assert recent.size_bytes == 0


def test_when_all_is_full_the_longest_released_goes_first() -> None:
    clock = Clock()
    recent = RecentSamples(total_bytes=100, monotonic_s=clock)
    for name in ("old", "older"):
        recent.watch(name)
        recent.add_frame(name, frame(0, 40))
    recent.release("older")
    clock.now_s = 1
    recent.release("old")
    recent.watch("live")
    recent.add_frame("live", frame(0, 40))
    assert recent.evidence(1, "older").frames == ()
    assert len(recent.evidence(1, "old").frames) == 1
    assert len(recent.evidence(1, "live").frames) == 1


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 60), st.booleans()), max_size=60))
def test_bounds_hold_and_the_books_balance(adds: list[tuple[str, int, bool]]) -> None:
    recent = RecentSamples(stream_bytes=100, total_bytes=150)
    for number, (stream_id, size_bytes, release) in enumerate(adds):
        recent.watch(stream_id)
        recent.add_frame(stream_id, frame(number, size_bytes))
        if release:
            recent.release(stream_id)
        kept = {name: sum(len(one.jpeg) for one in recent.evidence(1, name).frames) for name in "abc"}
        assert all(size <= 100 for size in kept.values())
        assert sum(kept.values()) == recent.size_bytes <= 150
