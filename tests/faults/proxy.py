"""A proxy between workers and PostgreSQL that is slow and breaks connections in the middle of a COMMIT."""

import random
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from sqlalchemy.engine import make_url

CHUNK = 65_536
READY = b"Z\x00\x00\x00\x05"  # the server's ReadyForQuery


class Proxy:
    """Listens on its own Unix socket and forwards every connection to the server of `url`.

    At each COMMIT it breaks the connection with probability `cut_probability`: either before the server receives the
    COMMIT, or after the server has committed and before the client learns it. `delay` is added to each response, in
    seconds.
    """

    def __init__(
        self, url: str, folder: Path, seed: int, cut_probability: float = 0.1, delay: float = 0.0
    ) -> None:
        server = make_url(url)
        host = server.query["host"]
        self._server_path = f"{host}/.s.PGSQL.{server.port or 5432}"
        self._random, self._cut_probability, self._delay = random.Random(seed), cut_probability, delay
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.bind(str(folder / ".s.PGSQL.5432"))
        self._socket.listen(64)
        self.url = server.update_query_dict({"host": str(folder)}).set(port=5432).render_as_string(False)
        self.cuts = {"before": 0, "after": 0}

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._socket.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        """Forward one connection: this thread the requests, a second thread the responses."""
        with client, socket.socket(socket.AF_UNIX) as server:
            server.connect(self._server_path)
            cut = ""
            responses = threading.Thread(
                target=self._forward_responses, args=(server, client, lambda: cut), daemon=True
            )
            responses.start()
            try:
                while data := client.recv(CHUNK):
                    if b"COMMIT" in data and self._random.random() < self._cut_probability:
                        cut = self._random.choice(sorted(self.cuts))
                        self.cuts[cut] += 1
                        if cut == "before":
                            break
                    server.sendall(data)
            except OSError:  # the response side closed the connection
                return
            finally:
                for end in (client, server):
                    _shut_down(end)
            responses.join(10)

    def _forward_responses(
        self, server: socket.socket, client: socket.socket, cut: Callable[[], str]
    ) -> None:
        try:
            while data := server.recv(CHUNK):
                time.sleep(self._delay)
                if cut() == "after":
                    if READY in data:
                        break
                    continue
                client.sendall(data)
        except OSError:  # the request side closed the connection
            return
        finally:
            _shut_down(client)


def _shut_down(end: socket.socket) -> None:
    try:
        end.shutdown(socket.SHUT_RDWR)
    except OSError:  # already closed
        return
