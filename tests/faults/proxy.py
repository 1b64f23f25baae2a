"""A line between the workers and PostgreSQL that is slow, and that is cut in the middle of a COMMIT."""

import random
import socket
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from sqlalchemy.engine import make_url

CHUNK = 65_536
READY = b"Z\x00\x00\x00\x05"  # the server's ReadyForQuery


class Proxy:
    """Listens on a Unix socket of its own, and gives every connection to the server behind `url`.

    At each COMMIT the line is cut with the probability `share`: before the server heard of it, or after it did it
    and before the client hears so.  `delay` is how many seconds each answer takes longer.
    """

    def __init__(self, url: str, folder: Path, seed: int, share: float = 0.1, delay: float = 0.0) -> None:
        server = make_url(url)
        host = server.query["host"]
        self._behind = f"{host}/.s.PGSQL.{server.port or 5432}"
        self._draw, self._share, self._delay = random.Random(seed), share, delay
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
        """One connection; PostgreSQL speaks in turns, and so one thread can carry both directions."""
        with client, socket.socket(socket.AF_UNIX) as server:
            server.connect(self._behind)
            cut = ""
            back = threading.Thread(target=self._answers, args=(server, client, lambda: cut), daemon=True)
            back.start()
            try:
                while data := client.recv(CHUNK):
                    if b"COMMIT" in data and self._draw.random() < self._share:
                        cut = self._draw.choice(sorted(self.cuts))
                        self.cuts[cut] += 1
                        if cut == "before":
                            break
                    server.sendall(data)
            except OSError:  # the answering side was cut
                return
            finally:
                for end in (client, server):
                    _shut(end)
            back.join(10)

    def _answers(self, server: socket.socket, client: socket.socket, cut: object) -> None:
        assert callable(cut)
        try:
            while data := server.recv(CHUNK):
                time.sleep(self._delay)
                if cut() == "after":
                    if READY in data:
                        break
                    continue
                client.sendall(data)
        except OSError:  # the asking side was cut
            return
        finally:
            _shut(client)


def _shut(end: socket.socket) -> None:
    try:
        end.shutdown(socket.SHUT_RDWR)
    except OSError:  # it was shut already
        return
