"""An inference server after the Open Inference Protocol's specification, which can also be in every bad mood."""

from __future__ import annotations

import json
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar, Final, Literal

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray
from typing_extensions import override

Mood = Literal[
    "well",
    "json",
    "not_ready",
    "refuse",
    "wrong_shape",
    "nan",
    "slow",
    "drip",
    "reset",
    "cut_off",
    "html",
    "huge",
    "lie",
]
TYPES: Final = {"UINT8": "<u1", "FP16": "<f2", "FP32": "<f4"}
NAMES: Final = {"tensor(uint8)": "UINT8", "tensor(float16)": "FP16", "tensor(float)": "FP32"}


@dataclass(slots=True, eq=False)
class InferenceServer:
    """One server with one model.

    Attributes:
        mood: How it answers from now on.
        token: Bearer token that it asks for; None for none.
        requests: Method and path of each request so far.
        batches: Rows of each inference so far.
        released: Set to let slow answers go.
    """

    url: str
    model: str
    version: str | None
    session: ort.InferenceSession
    mood: Mood = "well"
    token: str | None = None
    requests: list[str] = field(default_factory=list)
    batches: list[int] = field(default_factory=list)
    released: threading.Event = field(default_factory=threading.Event)

    @property
    def base(self) -> str:
        return f"/v2/models/{self.model}" + (f"/versions/{self.version}" if self.version else "")

    def metadata(self) -> dict[str, Any]:
        def tensors(nodes: Any) -> list[dict[str, Any]]:
            return [
                {
                    "name": node.name,
                    "datatype": NAMES[node.type],
                    "shape": [extent if isinstance(extent, int) else -1 for extent in node.shape],
                }
                for node in nodes
            ]

        return {
            "name": self.model,
            "versions": [self.version or "1"],
            "platform": "onnxruntime_onnx",
            "inputs": tensors(self.session.get_inputs()),
            "outputs": tensors(self.session.get_outputs()),
        }

    def infer(self, body: bytes, header_length: int) -> tuple[list[str], list[NDArray[Any]]]:
        request = json.loads(body[:header_length])
        rest = body[header_length:]
        feeds = {}
        for tensor in request["inputs"]:
            size = tensor["parameters"]["binary_data_size"]
            feeds[tensor["name"]] = np.frombuffer(rest[:size], TYPES[tensor["datatype"]]).reshape(tensor["shape"])
            rest = rest[size:]
        assert rest == b"", "more binary data than announced"
        names = [tensor["name"] for tensor in request["outputs"]]
        assert all(tensor["parameters"] == {"binary_data": True} for tensor in request["outputs"])
        self.batches.append(len(next(iter(feeds.values()))))
        return names, self.session.run(names, feeds)


class _Handler(BaseHTTPRequestHandler):
    inference: ClassVar[InferenceServer]
    protocol_version = "HTTP/1.1"

    @override
    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        if not self._admitted():
            return
        if self.path == f"{self.inference.base}/ready":
            ready = self.inference.mood != "not_ready"
            self._json(200 if ready else 503, {"name": self.inference.model, "ready": ready})
        elif self.path == self.inference.base:
            self._json(200, self.inference.metadata())
        else:
            self._json(404, {"error": f"unknown model: {self.path}"})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if not self._admitted():
            return
        if self.path != f"{self.inference.base}/infer":
            self._json(404, {"error": "unknown model"})
            return
        names, arrays = self.inference.infer(body, int(self.headers["Inference-Header-Content-Length"]))
        self._in_mood(names, arrays)

    def _in_mood(self, names: list[str], arrays: list[NDArray[Any]]) -> None:
        mood = self.inference.mood
        if mood in {"reset", "cut_off", "slow", "drip"}:
            self._trouble_on_the_line(mood, names, arrays)
        elif mood in {"refuse", "not_ready"}:
            self._json(400, {"error": "unexpected shape for input 'x'\nat http://user:secret@internal/"})
        elif mood == "html":
            self._body(200, b"<html>Welcome to our proxy</html>", {"Content-Type": "text/html"})
        elif mood == "huge":
            self._body(200, b" " * (8 * 1024 * 1024), {})
        else:
            self._with_outputs(mood, names, arrays)

    def _with_outputs(self, mood: str, names: list[str], arrays: list[NDArray[Any]]) -> None:
        match mood:
            case "lie":
                self._binary(names, arrays, announced=10**6)
            case "wrong_shape":
                self._binary(names, [array[:, :1] for array in arrays])
            case "nan":
                self._binary(names, [np.full_like(array, np.nan) for array in arrays])
            case "json":
                outputs = [
                    {"name": name, "datatype": "FP32", "shape": list(array.shape), "data": array.reshape(-1).tolist()}
                    for name, array in zip(names, arrays, strict=True)
                ]
                self._json(200, {"model_name": self.inference.model, "outputs": outputs})
            case _:
                self._binary(names, arrays)

    def _trouble_on_the_line(self, mood: str, names: list[str], arrays: list[NDArray[Any]]) -> None:
        if mood == "slow":
            self.inference.released.wait(30)
            self._binary(names, arrays)
            return
        self.close_connection = True
        self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n{")
        self.wfile.flush()
        if mood == "reset":
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        elif mood == "drip":
            with suppress(OSError):
                while not self.inference.released.wait(0.02):
                    self.wfile.write(b" ")
                    self.wfile.flush()

    def _binary(self, names: list[str], arrays: list[NDArray[Any]], announced: int | None = None) -> None:
        blobs = [np.ascontiguousarray(array, "<f4").tobytes() for array in arrays]
        outputs = [
            {
                "name": name,
                "datatype": "FP32",
                "shape": list(array.shape),
                "parameters": {"binary_data_size": len(blob) if announced is None else announced},
            }
            for name, array, blob in zip(names, arrays, blobs, strict=True)
        ]
        header = json.dumps({"model_name": self.inference.model, "model_version": "1", "outputs": outputs}).encode()
        headers = {"Inference-Header-Content-Length": str(len(header))}
        self._body(200, b"".join((header, *blobs)), headers)

    def _admitted(self) -> bool:
        self.inference.requests.append(f"{self.command} {self.path}")
        if self.inference.token is None or self.headers.get("Authorization") == f"Bearer {self.inference.token}":
            return True
        self._json(401, {"error": "who are you?"})
        return False

    def _json(self, status: int, document: dict[str, Any]) -> None:
        self._body(status, json.dumps(document).encode(), {"Content-Type": "application/json"})

    def _body(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        try:
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)
        except OSError:
            self.close_connection = True


@contextmanager
def inference_server(
    model_file: Path, model: str = "toy", version: str | None = None, port: int = 0
) -> Iterator[InferenceServer]:
    """Serve one ONNX file on loopback."""
    session = ort.InferenceSession(model_file.read_bytes(), providers=["CPUExecutionProvider"])
    server = InferenceServer("", model, version, session)

    handler = type("Handler", (_Handler,), {"inference": server})

    class Listener(ThreadingHTTPServer):
        daemon_threads = True

        @override
        def handle_error(self, request: Any, client_address: Any) -> None:
            """Say nothing: connections that break are what this server is for."""

    with Listener(("127.0.0.1", port), handler) as listener:
        server.url = f"http://127.0.0.1:{listener.server_address[1]}"
        thread = threading.Thread(target=listener.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.released.set()
            listener.shutdown()
            thread.join()
