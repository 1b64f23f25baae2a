"""Receivers on loopback that misbehave below HTTP: they answer byte by byte, never, or without end."""

import contextlib
import socket
import threading
from collections.abc import Callable
from typing import Self

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
# How long a receiver that does nothing keeps a connection.
HOLD_SECONDS = 60.0
Behaviour = Callable[["OddReceiver", socket.socket], None]


class OddReceiver:
    """A TCP server that handles each connection with a behaviour of this module, in a thread of its own."""

    def __init__(self, behaviour: Behaviour, pause: float = 0.05) -> None:
        """`pause` is the time between two bytes of an answer that drips."""
        self.pause, self.ended = pause, threading.Event()
        self.requests: list[bytes] = []
        self.open_connections = 0
        self._behaviour = behaviour
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._lock, self._threads = threading.Lock(), [threading.Thread(target=self._accept, daemon=True)]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._socket.getsockname()[1]}/secret-token"

    def __enter__(self) -> Self:
        self._threads[0].start()
        return self

    def __exit__(self, *_: object) -> None:
        self.ended.set()
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        for thread in self._threads:
            thread.join(5)

    def _accept(self) -> None:
        while not self.ended.is_set():
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._handle, args=[connection], daemon=True)
            self._threads.append(thread)
            thread.start()

    def _handle(self, connection: socket.socket) -> None:
        with self._lock:
            self.open_connections += 1
        with connection, contextlib.suppress(OSError):
            connection.settimeout(HOLD_SECONDS)
            self._behaviour(self, connection)
        with self._lock:
            self.open_connections -= 1

    def read_request(self, connection: socket.socket) -> None:
        head = b""
        while b"\r\n\r\n" not in head:
            if not (part := connection.recv(65_536)):
                raise ConnectionAbortedError
            head += part
        head, _, body = head.partition(b"\r\n\r\n")
        fields = [line.partition(b":") for line in head.lower().split(b"\r\n")]
        length = next((int(value) for name, _, value in fields if name == b"content-length"), 0)
        while len(body) < length:
            body += connection.recv(1_000_000)
        self.requests.append(body)

    def drip(self, connection: socket.socket, text: bytes) -> None:
        for byte in text:
            if self.ended.wait(self.pause):
                return
            connection.sendall(bytes([byte]))


def answers(receiver: OddReceiver, connection: socket.socket) -> None:
    receiver.read_request(connection)
    connection.sendall(OK)


def never_answers(receiver: OddReceiver, connection: socket.socket) -> None:
    receiver.read_request(connection)
    connection.recv(1)


def never_reads(receiver: OddReceiver, connection: socket.socket) -> None:
    """Takes the connection only: a large page fills the buffers, and sending it hangs."""
    receiver.ended.wait(HOLD_SECONDS)


def drips_headers(receiver: OddReceiver, connection: socket.socket) -> None:
    receiver.read_request(connection)
    receiver.drip(connection, b"HTTP/1.1 200 OK\r\nX-Long: " + b"x" * 60_000)


def drips_continues(receiver: OddReceiver, connection: socket.socket) -> None:
    """Interim answers without end."""
    receiver.read_request(connection)
    while not receiver.ended.wait(receiver.pause):
        connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")


def drips_refusal(receiver: OddReceiver, connection: socket.socket) -> None:
    """Refuses at once, and then explains without end."""
    receiver.read_request(connection)
    connection.sendall(b"HTTP/1.1 503 Busy\r\nContent-Length: 60000\r\n\r\n")
    receiver.drip(connection, b"x" * 60_000)


def drips_body(receiver: OddReceiver, connection: socket.socket) -> None:
    receiver.read_request(connection)
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 60000\r\n\r\n")
    receiver.drip(connection, b"x" * 60_000)


def endless_body(receiver: OddReceiver, connection: socket.socket) -> None:
    receiver.read_request(connection)
    connection.sendall(b"HTTP/1.1 503 Busy\r\n\r\n")
    block = b"x" * 1_000_000
    while not receiver.ended.is_set():
        connection.sendall(block)


def redirects(receiver: OddReceiver, connection: socket.socket) -> None:
    """To itself, for ever."""
    receiver.read_request(connection)
    address = receiver.url.encode()
    connection.sendall(b"HTTP/1.1 307 There\r\nContent-Length: 0\r\nLocation: " + address + b"\r\n\r\n")


def hangs_in_tls(receiver: OddReceiver, connection: socket.socket) -> None:
    """Takes the first record of a TLS handshake, and answers with the beginning of one, byte by byte."""
    connection.recv(65_536)
    receiver.drip(connection, b"\x16\x03\x03\x40\x00" + b"\x02" * 60_000)
