"""A remote model: the protocol, servers in every mood, the breaker and the fallback."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.classify.kserve import RemoteError, decode_answer, encode_request
from monitor.classify.kserve_classifier import KServeClassifier
from monitor.classify.kserve_guard import GuardedClassifier, remote_classifier
from monitor.classify.onnx_classifier import OnnxClassifier
from monitor.classify.package import ModelPackage, load_package
from monitor.classify.remote import RemoteSettings, take_from
from monitor.classify.stand_in import StandIn
from monitor.errors import ClassifierError, ModelPackageError
from tests.fakes import model_packages as toys
from tests.fakes.kserve_server import InferenceServer, Mood, inference_server
from tests.fakes.model_packages import grey_frames, make_clip

REMOTE = {"protocol": "kserve_v2", "model": "toy"}
CLIPS = [make_clip(grey_frames(0, 51, 51, 102)), make_clip(grey_frames(255, 255, 255, 255), 0.3)]


@pytest.fixture
def local(tmp_path: Path) -> ModelPackage:
    return load_package(toys.write_motion_package(tmp_path / "local"))


@pytest.fixture
def server(local: ModelPackage) -> Iterator[InferenceServer]:
    with inference_server(local.folder / "model.onnx") as running:
        yield running


def remote_package(folder: Path, **changes: Any) -> ModelPackage:
    manifest = {**toys.motion_manifest(), "name": "toy-remote", "remote": REMOTE, **changes}
    del manifest["file"]
    return load_package(toys.write_motion_package(folder, manifest=manifest))


def settings(server: InferenceServer, **changes: Any) -> RemoteSettings:
    return RemoteSettings(**{"url": server.url, "timeout_s": 0.5, "failures": 2, "retry_s": 0.05, **changes})


def test_scores_are_those_of_the_same_model_here(tmp_path: Path, local: ModelPackage, server: InferenceServer) -> None:
    classifier = KServeClassifier(remote_package(tmp_path / "remote"), settings(server))
    classifier.verify()
    here = OnnxClassifier(local).classify(CLIPS)
    np.testing.assert_array_equal(classifier.classify(CLIPS), here)
    assert server.batches[-1] == len(CLIPS)
    assert classifier.classify([]).shape == (0, 2)
    server.mood = "json"
    np.testing.assert_allclose(classifier.classify(CLIPS), here, atol=1e-6)


def test_the_version_and_the_token_are_sent(tmp_path: Path, local: ModelPackage) -> None:
    package = remote_package(tmp_path / "remote", remote={**REMOTE, "version": "7"})
    with inference_server(local.folder / "model.onnx", version="7") as server:
        server.token = "open-sesame"
        KServeClassifier(package, settings(server, token="open-sesame")).verify()
        assert set(server.requests) == {
            "GET /v2/models/toy/versions/7/ready",
            "GET /v2/models/toy/versions/7",
            "POST /v2/models/toy/versions/7/infer",
        }
        with pytest.raises(RemoteError, match="HTTP 401: who are you"):
            KServeClassifier(package, settings(server)).verify()


@pytest.mark.parametrize(
    ("mood", "reason", "words"),
    [
        ("refuse", "classifier_refused", "HTTP 400: unexpected shape for input 'x' at "),
        ("wrong_shape", "classifier_bad_answer", "not one column per label"),
        ("nan", "classifier_bad_answer", "no probability"),
        ("slow", "classifier_timeout", "longer than 0.5 s"),
        ("drip", "classifier_timeout", "longer than 0.5 s"),
        ("reset", "classifier_unreachable", "cannot be reached"),
        ("cut_off", "classifier_unreachable", "cannot be reached"),
        ("html", "classifier_bad_answer", "no inference answer"),
        ("huge", "classifier_bad_answer", "longer than"),
        ("lie", "classifier_bad_answer", "binary data is missing"),
    ],
)
def test_a_server_in_a_bad_mood(tmp_path: Path, server: InferenceServer, mood: Mood, reason: str, words: str) -> None:
    classifier = KServeClassifier(remote_package(tmp_path / "remote"), settings(server))
    server.mood = mood
    started_s = time.monotonic()
    with pytest.raises(RemoteError, match=words) as caught:
        classifier.classify(CLIPS)
    assert time.monotonic() - started_s < 5
    assert caught.value.reason == reason
    assert caught.value.retryable
    assert "secret" not in str(caught.value)
    assert server.url not in str(caught.value)
    server.released.set()
    server.mood = "well"
    assert classifier.classify(CLIPS).shape == (2, 2)


def test_a_server_that_is_not_there(tmp_path: Path, server: InferenceServer) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    classifier = KServeClassifier(remote_package(tmp_path / "remote"), settings(server, url=f"http://127.0.0.1:{port}"))
    with pytest.raises(RemoteError) as caught:
        classifier.classify(CLIPS)
    assert caught.value.reason == "classifier_unreachable"
    assert str(port) not in str(caught.value)


def test_a_model_that_is_not_ready(tmp_path: Path, server: InferenceServer) -> None:
    server.mood = "not_ready"
    with pytest.raises(RemoteError) as caught:
        KServeClassifier(remote_package(tmp_path / "remote"), settings(server)).verify()
    assert caught.value.reason == "classifier_not_ready"


def test_another_model_on_the_server_is_refused_with_every_difference(tmp_path: Path) -> None:
    image = toys.write_image_package(tmp_path / "image")
    with inference_server(image / "model.onnx") as server, pytest.raises(ModelPackageError) as caught:
        KServeClassifier(remote_package(tmp_path / "remote"), settings(server)).verify()
    assert [problem.what for problem in caught.value.problems] == [
        "the server's model has no input pixels; it has image",
        "the server's model has no input spacing; it has image",
        "the server's model also asks for image",
        "the server's model has no output scores; it has logits",
    ]


def test_another_version_of_the_model_fails_the_self_test(tmp_path: Path, server: InferenceServer) -> None:
    folder = tmp_path / "remote"
    remote_package(folder)
    toys.write_motion_package(folder.with_name("other"), test_scores=[[0.9, 0.1], [1.0, 0.3]])
    (folder.with_name("other") / "self_test.npz").rename(folder / "self_test.npz")
    with pytest.raises(ModelPackageError, match=r"off by 0\.7"):
        KServeClassifier(load_package(folder), settings(server)).verify()


def until(condition: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline_s
        time.sleep(0.01)


def test_the_breaker_opens_after_so_many_failures_and_closes_when_the_model_is_back(
    tmp_path: Path, local: ModelPackage, server: InferenceServer
) -> None:
    package = remote_package(tmp_path / "remote")
    guarded = remote_classifier(package, settings(server, fallback=str(local.folder)))
    assert (guarded.trouble, guarded.serving) == ("", "toy-remote@1.2.3")
    wanted = guarded.classify(CLIPS)

    server.mood = "refuse"
    np.testing.assert_array_equal(guarded.classify(CLIPS), wanted)
    assert (guarded.trouble, guarded.clips_stood_in) == ("", 2)
    guarded.classify(CLIPS)
    assert (guarded.trouble, guarded.serving) == ("classifier_refused", "toy-motion@1.2.3")
    assert guarded.name == "toy-remote@1.2.3"
    asked = len(server.batches)
    # It is ready and infers, but refuses: the self-test keeps the breaker open, and nobody's clips wait for it.
    np.testing.assert_array_equal(guarded.classify(CLIPS), wanted)
    until(lambda: len(server.batches) > asked + 1)
    assert guarded.trouble == "classifier_refused"

    server.mood = "well"
    until(lambda: not guarded.trouble)
    np.testing.assert_array_equal(guarded.classify(CLIPS), wanted)
    stood_in = guarded.clips_stood_in
    assert guarded.serving == "toy-remote@1.2.3"

    server.mood = "refuse"
    guarded.classify(CLIPS)
    guarded.classify(CLIPS)
    assert guarded.trouble == "classifier_refused"
    assert guarded.clips_stood_in == stood_in + 4
    guarded.close()


def test_a_half_open_breaker_opens_at_once(tmp_path: Path, local: ModelPackage, server: InferenceServer) -> None:
    server.mood = "not_ready"
    package = remote_package(tmp_path / "remote")
    guarded = remote_classifier(package, settings(server, failures=5, fallback=str(local.folder)))
    assert guarded.trouble == "classifier_not_ready"
    server.mood = "well"
    until(lambda: not guarded.trouble)
    server.mood = "refuse"
    guarded.classify(CLIPS)
    assert guarded.trouble == "classifier_refused"
    guarded.close()


def test_without_a_fallback_clips_stay_without_scores_and_never_become_safe(
    tmp_path: Path, server: InferenceServer
) -> None:
    package = remote_package(tmp_path / "remote")
    guarded = remote_classifier(package, settings(server, retry_s=60))
    server.mood = "nan"
    for _ in range(3):
        with pytest.raises(RemoteError):
            guarded.classify(CLIPS)
    assert (guarded.trouble, guarded.serving) == ("classifier_bad_answer", "")
    # Open: the server is left alone.
    asked = len(server.requests)
    with pytest.raises(RemoteError) as caught:
        guarded.classify(CLIPS)
    assert caught.value.reason == "classifier_bad_answer"
    assert len(server.requests) == asked
    guarded.close()


def test_without_a_fallback_a_server_that_is_not_there_is_an_error_at_once(
    tmp_path: Path, server: InferenceServer
) -> None:
    server.mood = "not_ready"
    with pytest.raises(RemoteError):
        remote_classifier(remote_package(tmp_path / "remote"), settings(server))


POINTS = {"review": 0.2, "act": 0.9, "rule": "toy"}


def test_a_fallback_scores_on_the_scale_of_the_model_whose_place_it_takes(tmp_path: Path, local: ModelPackage) -> None:
    points = {"brightness": POINTS, "slowness": POINTS}
    remote = remote_package(tmp_path / "remote", operating_points=points)
    stand_in = StandIn(local, remote)
    levels = (0, 100, 127, 128, 170, 178, 179, 255)
    clips = [make_clip(grey_frames(*[level] * 4)) for level in levels]
    own, moved = OnnxClassifier(local).classify(clips)[:, 0], stand_in.classify(clips)[:, 0]
    np.testing.assert_array_equal(moved >= 0.2, own >= 0.5)
    np.testing.assert_array_equal(moved >= 0.9, own >= 0.7)
    assert list(moved) == sorted(moved)
    assert (moved[0], moved[-1]) == (0.0, 1.0)


def test_a_fallback_is_fed_with_the_newest_frames_at_its_own_spacing_and_size(
    tmp_path: Path, local: ModelPackage
) -> None:
    clip = {"frames": 9, "spacing_s": 0.05, "width": 64, "height": 48}
    manifest = {**toys.motion_manifest(), "clip": clip, "remote": REMOTE}
    del manifest["file"]
    large = np.stack([np.full((48, 64, 3), level, np.uint8) for level in range(0, 90, 10)])
    big = make_clip(large, 0.05)
    package = load_package(
        toys.write_motion_package(tmp_path / "big", manifest=manifest, test_clips=[big], test_scores=[[0.2, 0.1]])
    )
    scores = StandIn(local, package).classify([big])
    # Frames 2, 4, 6 and 8, a tenth of a second apart.
    np.testing.assert_allclose(scores, [[(20 + 40 + 60 + 80) / 4 / 255, 0.1]], atol=1e-5)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"clip": {"frames": 4, "spacing_s": 0.5, "width": 32, "height": 24}}, "wants 4 frames 0.1 s apart"),
        ({"clip": {"frames": 4, "spacing_s": 0.1, "width": 32, "height": 24, "fit": "crop"}}, "to size by stretch"),
        ({"clip": {"frames": 4, "spacing_s": 0.1, "width": 16, "height": 24}}, "larger pictures"),
        (
            {
                "outputs": [{"name": "scores", "labels": ["brightness", "weapon"]}],
                "operating_points": {"weapon": POINTS},
            },
            "has no scores for weapon",
        ),
    ],
)
def test_a_fallback_that_cannot_stand_in_is_refused(
    tmp_path: Path, local: ModelPackage, change: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(ModelPackageError, match=complaint):
        StandIn(local, remote_package(tmp_path / "remote", **change))


def test_a_remote_model_is_no_fallback(tmp_path: Path) -> None:
    remote = remote_package(tmp_path / "remote")
    with pytest.raises(ModelPackageError, match="is remote too"):
        StandIn(remote, remote)
    with pytest.raises(ClassifierError, match="is no remote model"):
        KServeClassifier(load_package(toys.write_image_package(tmp_path / "image")), RemoteSettings("http://h"))


def test_the_settings_cross_in_one_variable_that_is_then_gone() -> None:
    given_settings = RemoteSettings("http://h:1", timeout_s=2.0, token="secret-token", fallback="other")
    environ = {"LIVECORDON_WATCHER_REMOTE": given_settings.to_variable()}
    assert take_from(environ) == given_settings
    assert environ == {}
    assert take_from(environ) is None
    assert "secret-token" not in repr(given_settings)
    assert "http" not in repr(given_settings)


@given(st.lists(st.tuples(st.sampled_from(["uint8", "float16", "float32"]), st.integers(0, 3)), min_size=1, max_size=4))
def test_requests_hold_every_tensor_whole(tensors: list[tuple[str, int]]) -> None:
    feeds = {f"in{i}": np.arange(rows * 2, dtype=dtype).reshape(rows, 2) for i, (dtype, rows) in enumerate(tensors)}
    body, header_length = encode_request(feeds, ["out"])
    rest = body[header_length:]
    for array in feeds.values():
        assert rest.startswith(array.tobytes())
        rest = rest[array.nbytes :]
    assert rest == b""


@given(st.binary(max_size=300), st.none() | st.integers(-5, 400))
def test_no_answer_breaks_anything_but_itself(body: bytes, header_length: int | None) -> None:
    with pytest.raises(RemoteError) as caught:
        decode_answer(body, header_length, ["out"])
    assert caught.value.reason == "classifier_bad_answer"


@pytest.mark.parametrize(
    "output",
    [
        b'{"name":"out","datatype":"BYTES","shape":[1],"data":["x"]}',
        b'{"name":"out","datatype":"FP32","shape":[1],"data":["x"]}',
        b'{"name":"out","datatype":"FP32","shape":[2],"data":[[1],[2,3]]}',
        b'{"name":"out","datatype":"FP32","shape":[-1],"data":[]}',
        b'{"name":"out","datatype":"FP32","shape":[99999999,99999999],"data":[]}',
        b'{"name":"out","datatype":"FP32","shape":[1]}',
        b'{"name":"out","datatype":"FP32","shape":[0],"parameters":{"binary_data_size":-4}}',
        b'{"name":"other","datatype":"FP32","shape":[1],"data":[1]}',
    ],
)
def test_outputs_that_are_none_are_refused(output: bytes) -> None:
    with pytest.raises(RemoteError):
        decode_answer(b'{"outputs":[' + output + b"]}", None, ["out"])


def test_guarded_classifiers_can_be_told_from_others(tmp_path: Path, server: InferenceServer) -> None:
    guarded = remote_classifier(remote_package(tmp_path / "remote"), settings(server))
    assert isinstance(guarded, GuardedClassifier)
    assert guarded.provider == "kserve_v2"
