"""Providers are asked for by name, and verified. No accelerator is at hand here: ONNX Runtime is told to pretend."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import onnxruntime as ort
import pytest

from monitor.classify.onnx_classifier import OnnxClassifier
from monitor.classify.package import ModelPackage, load_package
from monitor.classify.provider import PROVIDERS, check_profile, open_session
from monitor.errors import ClassifierError
from tests.fakes import model_packages as toys

OTHERS = [name for name in PROVIDERS if name != "cpu"]
REAL = ort.InferenceSession


@pytest.fixture
def package(tmp_path: Path) -> ModelPackage:
    return load_package(toys.write_motion_package(tmp_path / "toy"))


class Pretending:
    """A session that says it runs by the provider it was asked for, and computes on the CPU.

    Attributes:
        runs: The share of nodes that its record says the provider ran, of four.
        says: Which providers it says it has; those asked for and the CPU by default.
    """

    runs = 4
    says: tuple[str, ...] | None = None
    asked: tuple[str, ...] = ()
    options: Any = None

    def __init__(self, model: bytes, options: ort.SessionOptions, providers: list[str]) -> None:
        type(self).asked, type(self).options = tuple(providers), options
        self._prefix = options.profile_file_prefix if options.enable_profiling else None
        options.enable_profiling = False
        self._session = REAL(model, options, providers=["CPUExecutionProvider"])

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)

    def get_providers(self) -> list[str]:
        return list(self.says if self.says is not None else (*self.asked, "CPUExecutionProvider"))

    def end_profiling(self) -> str:
        assert self._prefix is not None
        ran_by = [self.asked[0]] * self.runs + ["CPUExecutionProvider"] * (4 - self.runs)
        events = [{"cat": "Node", "args": {"provider": name}} for name in ran_by]
        file = Path(f"{self._prefix}_record.json")
        file.write_text(json.dumps([{"cat": "Session", "args": {}}, *events]))
        return str(file)


@pytest.fixture
def pretending(package: ModelPackage, monkeypatch: pytest.MonkeyPatch) -> type[Pretending]:
    # After the package was loaded: that looks at its graph with a session of its own.
    session = type("Session", (Pretending,), {})
    monkeypatch.setattr(ort, "get_available_providers", lambda: list(PROVIDERS.values()))
    monkeypatch.setattr(ort, "InferenceSession", session)
    return session


@pytest.mark.parametrize("provider", OTHERS)
def test_each_provider_is_asked_for_by_its_name_and_nothing_else_is(
    package: ModelPackage, pretending: type[Pretending], provider: str
) -> None:
    classifier = OnnxClassifier(package, provider)
    assert pretending.asked == (PROVIDERS[provider],)
    assert classifier.provider == provider


@pytest.mark.parametrize("provider", OTHERS)
@pytest.mark.parametrize("says", [("CPUExecutionProvider",), ("DmlExecutionProvider", "CPUExecutionProvider")])
def test_a_silent_fall_back_is_refused(
    package: ModelPackage, pretending: type[Pretending], provider: str, says: tuple[str, ...]
) -> None:
    # What ONNX Runtime does where the provider is built in but its libraries are missing: a session all the same.
    pretending.says = says
    with pytest.raises(ClassifierError, match=f"asked for provider {provider}, got {says[0]}"):
        OnnxClassifier(package, provider)


@pytest.mark.parametrize("provider", OTHERS)
def test_a_provider_that_leaves_everything_to_the_cpu_is_refused(
    package: ModelPackage, pretending: type[Pretending], provider: str
) -> None:
    pretending.runs = 0
    with pytest.raises(ClassifierError, match=f"provider {provider} started, and runs no part of the model"):
        OnnxClassifier(package, provider)


def test_a_provider_that_leaves_a_part_to_the_cpu_is_taken(
    package: ModelPackage, pretending: type[Pretending], tmp_path: Path
) -> None:
    pretending.runs = 3
    session = open_session(package, "cuda", tmp_path / "record")
    assert check_profile(session, "cuda") == 0.75


def test_the_record_of_a_real_session_is_understood(package: ModelPackage, tmp_path: Path) -> None:
    session = open_session(package, "cpu", tmp_path / "record")
    with pytest.raises(ClassifierError, match="runs no part of the model"):
        check_profile(session, "cpu")
    session = open_session(package, "cpu", tmp_path / "record")
    shapes = {node.name: [1 if isinstance(one, str) else one for one in node.shape] for node in session.get_inputs()}
    kinds = {"pixels": "uint8", "spacing": "float32"}
    import numpy as np

    session.run(None, {name: np.zeros(shape, kinds[name]) for name, shape in shapes.items()})
    assert check_profile(session, "cpu") == 1.0


def test_a_record_that_cannot_be_read_is_no_proof(
    package: ModelPackage, pretending: type[Pretending], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pretending, "end_profiling", lambda self: "/nonexistent/record.json")
    with pytest.raises(ClassifierError, match="cannot tell whether provider cuda runs the model"):
        OnnxClassifier(package, "cuda")


def test_one_thread_and_no_spinning(package: ModelPackage, pretending: type[Pretending]) -> None:
    OnnxClassifier(package, "cuda")
    options = pretending.options
    assert (options.intra_op_num_threads, options.inter_op_num_threads) == (1, 1)
    assert options.get_session_config_entry("session.intra_op.allow_spinning") == "0"


def test_a_provider_that_is_not_installed_is_refused(package: ModelPackage) -> None:
    with pytest.raises(ClassifierError, match="this ONNX Runtime has no provider tensorrt: it has cpu"):
        OnnxClassifier(package, provider="tensorrt")


def test_an_unknown_provider_is_refused(package: ModelPackage) -> None:
    with pytest.raises(ClassifierError, match="unknown provider gpu: use one of cpu, cuda, tensorrt, openvino, coreml"):
        OnnxClassifier(package, provider="gpu")
