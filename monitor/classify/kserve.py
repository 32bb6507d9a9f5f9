"""The Open Inference Protocol ("KServe v2") over HTTP with binary tensors: requests, answers, and one server's client.

Sources: the protocol's REST specification (kserve/open-inference-protocol) and Triton's binary tensor data extension.
"""

from __future__ import annotations

import importlib.util
import math
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from monitor import __version__
from monitor.classify.manifest import RemotePart
from monitor.classify.remote import RemoteSettings
from monitor.errors import ClassifierError
from monitor.redact import redact_text

if TYPE_CHECKING:
    import urllib3

DATATYPES: Final = {"uint8": "UINT8", "float16": "FP16", "float32": "FP32", "float64": "FP64"}
"""numpy's names, and the protocol's."""

MAX_ANSWER_BYTES: Final = 4 * 1024**2
"""Scores are small; whatever sends more is no inference server."""

_HEADER_LENGTH: Final = "Inference-Header-Content-Length"
_READ_BYTES: Final = 64 * 1024
_MAX_DIMENSIONS: Final = 8


class RemoteError(ClassifierError):
    """The server did not give scores; trying again can help."""

    reason = "classifier_unreachable"
    retryable = True


class TensorInfo(msgspec.Struct, frozen=True):
    """What a server says of one input or output; -1 stands for a size that may vary."""

    name: str
    datatype: str = ""
    shape: tuple[int, ...] = ()


class ModelInfo(msgspec.Struct, frozen=True):
    """What a server says of a model."""

    name: str
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    versions: tuple[str, ...] = ()


class _OutputParameters(msgspec.Struct, frozen=True):
    binary_data_size: int | None = None


class _Output(msgspec.Struct, frozen=True):
    name: str
    datatype: str
    shape: tuple[int, ...]
    parameters: _OutputParameters | None = None
    data: list[Any] | None = None


class _Answer(msgspec.Struct, frozen=True):
    outputs: tuple[_Output, ...]


class _Refusal(msgspec.Struct, frozen=True):
    error: str


def encode_request(feeds: Mapping[str, NDArray[Any]], outputs: Sequence[str]) -> tuple[bytes, int]:
    """Return the body of an inference request, and the length of its JSON part.

    Args:
        feeds: Arrays by input name, of the dtypes in `DATATYPES`.
        outputs: Names of the outputs that are wanted.
    """
    blobs, inputs = [], []
    for name, array in feeds.items():
        little_endian = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
        blobs.append(little_endian.tobytes())
        inputs.append(
            {
                "name": name,
                "shape": list(array.shape),
                "datatype": DATATYPES[array.dtype.name],
                "parameters": {"binary_data_size": array.nbytes},
            }
        )
    wanted = [{"name": name, "parameters": {"binary_data": True}} for name in outputs]
    header = msgspec.json.encode({"inputs": inputs, "outputs": wanted})
    return b"".join((header, *blobs)), len(header)


def decode_answer(body: bytes, header_length: int | None, outputs: Sequence[str]) -> list[NDArray[np.float64]]:
    """Return the arrays of an inference answer, in the order of `outputs`.

    Args:
        body: The whole body.
        header_length: Length of its JSON part, where the answer says so; all of it otherwise.
        outputs: Names of the outputs that were asked for.

    Raises:
        RemoteError: the answer breaks the protocol (`classifier_bad_answer`).
    """
    if header_length is not None and not 0 < header_length <= len(body):
        raise _bad_answer("its JSON part is longer than the answer")
    try:
        answer = msgspec.json.decode(body[:header_length], type=_Answer)
    except (msgspec.DecodeError, RecursionError):
        raise _bad_answer("it is no inference answer") from None
    binary = memoryview(body)[len(body) if header_length is None else header_length :]
    found = {}
    for output in answer.outputs:
        count = _element_count(output.shape)
        size = None if output.parameters is None else output.parameters.binary_data_size
        if size is None:
            values = _plain_values(output)
        else:
            if not 0 <= size <= len(binary):
                raise _bad_answer("binary data is missing")
            dtype = _dtype(output.datatype)
            if size % dtype.itemsize:
                raise _bad_answer("binary data ends within a number")
            values = np.frombuffer(binary[:size], dtype).astype(np.float64)
            binary = binary[size:]
        if len(values) != count:
            raise _bad_answer("an output has more or fewer numbers than its shape says")
        found[output.name] = values.reshape(output.shape)
    if missing := [name for name in outputs if name not in found]:
        raise _bad_answer(f"the output {missing[0]} is missing")
    return [found[name] for name in outputs]


def _element_count(shape: tuple[int, ...]) -> int:
    if len(shape) > _MAX_DIMENSIONS or any(not 0 <= extent <= MAX_ANSWER_BYTES for extent in shape):
        raise _bad_answer("an output has an impossible shape")
    return math.prod(shape)


def _dtype(datatype: str) -> np.dtype[Any]:
    for name in ("float16", "float32", "float64"):
        if DATATYPES[name] == datatype:
            return np.dtype(name).newbyteorder("<")
    raise _bad_answer("an output holds no floating-point numbers")


def _plain_values(output: _Output) -> NDArray[np.float64]:
    """Return numbers that came as JSON, flat or nested: servers without the binary extension do that."""
    if output.datatype not in DATATYPES.values():
        raise _bad_answer("an output holds no floating-point numbers")
    try:
        return np.asarray(output.data if output.data is not None else [], np.float64).reshape(-1)
    except (ValueError, TypeError, OverflowError):
        raise _bad_answer("an output holds other things than numbers") from None


def _bad_answer(why: str) -> RemoteError:
    return RemoteError(f"the inference server's answer cannot be used: {why}", reason="classifier_bad_answer")


class KServeClient:
    """One model on one server. Safe to use from several threads; connections are kept open between requests."""

    def __init__(self, settings: RemoteSettings, model: RemotePart) -> None:
        """Prepare; nothing is sent.

        Raises:
            ClassifierError: the extra `kserve` is not installed.
        """
        if importlib.util.find_spec("urllib3") is None:
            raise ClassifierError("remote models need the extra kserve: pip install 'livecordon[kserve]'")
        import urllib3  # noqa: PLC0415 - an extra

        self._settings = settings
        self._pool: urllib3.PoolManager = urllib3.PoolManager(num_pools=1, maxsize=2, retries=False)
        self._headers = {"User-Agent": f"livecordon/{__version__}"}
        if settings.token:
            self._headers["Authorization"] = f"Bearer {settings.token}"
        version = "" if model.version is None else f"/versions/{model.version}"
        self._model_url = f"{settings.url.rstrip('/')}/v2/models/{model.model}{version}"

    def require_ready(self) -> None:
        """Raise `RemoteError` (`classifier_not_ready`, or as `infer`) unless the server can run the model now."""
        status, body, _ = self._exchange("GET", "/ready", None, {})
        if status != 200:
            raise RemoteError(
                f"the model is not ready on its server ({_words(status, body)})", reason="classifier_not_ready"
            )

    def info(self) -> ModelInfo:
        """Return what the server says of the model.

        Raises:
            RemoteError: as `infer` does.
        """
        status, body, _ = self._exchange("GET", "", None, {})
        if status != 200:
            raise _refused(status, body)
        try:
            return msgspec.json.decode(body, type=ModelInfo)
        except (msgspec.DecodeError, RecursionError):
            raise _bad_answer("it does not describe a model") from None

    def infer(self, feeds: Mapping[str, NDArray[Any]], outputs: Sequence[str]) -> list[NDArray[np.float64]]:
        """Run the model; blocks for at most about the settings' timeout.

        Raises:
            RemoteError: no connection, or it broke (`classifier_unreachable`); too slow (`classifier_timeout`); an HTTP status
                other than 200 (`classifier_refused`); an answer that breaks the protocol (`classifier_bad_answer`).
        """
        body, header_length = encode_request(feeds, outputs)
        headers = {"Content-Type": "application/octet-stream", _HEADER_LENGTH: str(header_length)}
        status, answer, answer_headers = self._exchange("POST", "/infer", body, headers)
        if status != 200:
            raise _refused(status, answer)
        length = answer_headers.get(_HEADER_LENGTH, "")
        if length and not (length.isascii() and length.isdigit() and len(length) < 12):
            raise _bad_answer("its JSON part has no length")
        return decode_answer(answer, int(length) if length else None, outputs)

    def _exchange(
        self, method: str, path: str, body: bytes | None, headers: Mapping[str, str]
    ) -> tuple[int, bytes, Mapping[str, str]]:
        import urllib3  # noqa: PLC0415 - an extra

        timeout_s = self._settings.timeout_s
        ends_s = time.monotonic() + timeout_s
        try:
            answer = self._pool.request(
                method,
                f"{self._model_url}{path}",
                body=body,
                headers={**self._headers, **headers},
                timeout=urllib3.Timeout(connect=timeout_s, read=timeout_s),
                redirect=False,
                retries=False,
                preload_content=False,
                decode_content=False,
            )
            try:
                content = self._read(answer, ends_s)
            except BaseException:
                # Something of this answer may still be on its way: nobody else may read it as their own.
                answer.close()
                raise
            answer.release_conn()
        except urllib3.exceptions.NewConnectionError as error:
            # Also a kind of timeout, to that library.
            raise _unreachable(error) from None
        except urllib3.exceptions.TimeoutError:
            raise _too_slow(timeout_s) from None
        except (urllib3.exceptions.HTTPError, OSError, ValueError) as error:
            raise _unreachable(error) from None
        return answer.status, content, answer.headers

    def _read(self, answer: urllib3.BaseHTTPResponse, ends_s: float) -> bytes:
        parts, size = [], 0
        # The library's timeout is one for each read: a server that drips would hold us for ever.
        while part := answer.read1(_READ_BYTES):
            size += len(part)
            parts.append(part)
            if size > MAX_ANSWER_BYTES:
                raise _bad_answer(f"it is longer than {MAX_ANSWER_BYTES} bytes")
            if time.monotonic() > ends_s:
                raise _too_slow(self._settings.timeout_s)
        return b"".join(parts)


def _unreachable(error: Exception) -> RemoteError:
    return RemoteError(f"the inference server cannot be reached ({type(error).__name__})")


def _too_slow(timeout_s: float) -> RemoteError:
    return RemoteError(f"the inference server took longer than {timeout_s:g} s", reason="classifier_timeout")


def _refused(status: int, body: bytes) -> RemoteError:
    return RemoteError(f"the inference server refused ({_words(status, body)})", reason="classifier_refused")


def _words(status: int, body: bytes) -> str:
    """Return an answer's status and, where it has one, its error message, fit for a log line."""
    try:
        error = msgspec.json.decode(body, type=_Refusal).error
    except (msgspec.DecodeError, RecursionError):
        return f"HTTP {status}"
    printable = "".join(letter if letter.isprintable() else " " for letter in error)
    return f"HTTP {status}: {redact_text(printable)[:200]}"
