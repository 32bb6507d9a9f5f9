"""Small servers on loopback that behave as real sources do when they misbehave."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Answer = Callable[[socket.socket, str, threading.Event], None]
"""Answers one HTTP request: the connection, the path asked for, and an event that is set when the test is over."""


@contextmanager
def http_server(answer: Answer) -> Iterator[str]:
    """Serve HTTP on loopback, one thread for each connection; yields ``http://127.0.0.1:port``."""
    over = threading.Event()
    threads: list[threading.Thread] = []
    listener = socket.create_server(("127.0.0.1", 0))

    def serve(connection: socket.socket) -> None:
        with connection:
            try:
                request = b""
                while b"\r\n\r\n" not in request:
                    chunk = connection.recv(4096)
                    if not chunk:
                        return
                    request += chunk
                answer(connection, request.split(b" ", 2)[1].decode(), over)
            except OSError:
                return  # the reader went away, as readers do

    def accept() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            thread = threading.Thread(target=serve, args=(connection,))
            threads.append(thread)
            thread.start()

    accepting = threading.Thread(target=accept)
    accepting.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        over.set()
        # Closing alone does not wake a thread that is blocked in accept().
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        accepting.join()
        for thread in threads:
            thread.join()


@contextmanager
def silent_server() -> Iterator[int]:
    """Accept connections and never say a word; yields the port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        # The backlog accepts for us.
        yield int(listener.getsockname()[1])


def files(pages: dict[str, bytes]) -> Answer:
    """Serve `pages` by path; anything else is 404."""

    def answer(connection: socket.socket, path: str, _over: threading.Event) -> None:
        body = pages.get(path)
        status = "404 Not Found" if body is None else "200 OK"
        head = f"HTTP/1.1 {status}\r\nContent-Length: {len(body or b'')}\r\nConnection: close\r\n\r\n"
        connection.sendall(head.encode() + (body or b""))

    return answer


def live(data: bytes, *, then_hang: bool, kind: str = "video/mp2t", chunked: bool = False) -> Answer:
    """Serve `data` without a length, as a live stream does; then keep silent, or close."""
    head = f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nConnection: close\r\n"
    if chunked:
        head += "Transfer-Encoding: chunked\r\n"
        data = b"%x\r\n%b\r\n" % (len(data), data)

    def answer(connection: socket.socket, _path: str, over: threading.Event) -> None:
        connection.sendall(f"{head}\r\n".encode() + data)
        if then_hang:
            over.wait()
        elif chunked:
            connection.sendall(b"0\r\n\r\n")

    return answer
