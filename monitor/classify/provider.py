"""ONNX Runtime sessions by a provider that was asked for by name, and proof that no other one runs the model."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any, Final

import onnxruntime as ort

from monitor.classify.package import ModelPackage
from monitor.errors import ClassifierError

PROVIDERS: Final = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
    "openvino": "OpenVINOExecutionProvider",
    "coreml": "CoreMLExecutionProvider",
}
"""Names that people write, and ONNX Runtime's own."""


def open_session(package: ModelPackage, provider: str, profile: Path | None = None) -> ort.InferenceSession:
    """Return a session of one thread that runs the package's model by this provider.

    Args:
        package: As `load_package` returns it.
        provider: A key of `PROVIDERS`.
        profile: Where to record which provider runs what, until `check_profile`; None records nothing.

    Raises:
        ClassifierError: the provider is unknown or not installed, or ONNX Runtime fell back to another one.
    """
    wanted = PROVIDERS.get(provider)
    if wanted is None:
        raise ClassifierError(f"unknown provider {provider}: use one of {', '.join(PROVIDERS)}")
    available = ort.get_available_providers()
    if wanted not in available:
        known = [name for name, own in PROVIDERS.items() if own in available]
        raise ClassifierError(f"this ONNX Runtime has no provider {provider}: it has {', '.join(known)}")
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    options.log_severity_level = 3
    if profile is not None:
        options.enable_profiling = True
        options.profile_file_prefix = str(profile)
    try:
        session = ort.InferenceSession(package.model, options, providers=[wanted])
    except Exception as error:  # ONNX Runtime's errors share no base class
        first_line = str(error).partition("\n")[0][:300]
        raise ClassifierError(f"no session with provider {provider}: {first_line}") from error
    # ONNX Runtime warns and goes on with the CPU where a provider cannot start.
    session.disable_fallback()
    if session.get_providers()[0] != wanted:
        raise ClassifierError(f"asked for provider {provider}, got {session.get_providers()[0]}")
    return session


def check_profile(session: ort.InferenceSession, provider: str) -> float:
    """End a session's record and return the share of the model's nodes that the provider ran, above 0 and up to 1.

    A provider may start and still leave every node to the CPU, because it supports none of them. Some nodes that only
    compute shapes belong on the CPU, so a share below 1 is no mistake.

    Raises:
        ClassifierError: it ran none, or the record cannot be read.
    """
    try:
        events: list[dict[str, Any]] = json.loads(Path(session.end_profiling()).read_bytes())
        ran = Counter(event["args"]["provider"] for event in events if "provider" in event.get("args", {}))
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise ClassifierError(f"cannot tell whether provider {provider} runs the model") from error
    share = ran[PROVIDERS[provider]] / max(1, ran.total())
    if share == 0:
        raise ClassifierError(f"provider {provider} started, and runs no part of the model: it supports none of it")
    return share
