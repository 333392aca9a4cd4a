"""Someone on the wire between a gateway and its host.

`Wire(url)` forwards connections to a host and keeps every byte of both directions.
"""

import select
import socket
import threading
from pathlib import Path
from urllib.parse import urlsplit


class Wire:
    """Forwards to a host; `seen` is everything that passed, both ways."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self.host = (parts.hostname, parts.port)
        self.seen = bytearray()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            client, _ = self.listener.accept()
            threading.Thread(target=self._forward, args=(client,), daemon=True).start()

    def _forward(self, client: socket.socket) -> None:
        with client, socket.create_connection(self.host) as host:
            other = {client: host, host: client}
            while True:
                for end in select.select([client, host], [], [])[0]:
                    data = end.recv(65536)
                    if not data:
                        return
                    self.seen += data
                    other[end].sendall(data)


def secret_of(key: Path) -> str:
    """The text of a key file, to look for it where it must not be."""
    return next(line for line in key.read_text().splitlines() if line.startswith("EQUICRYPT"))
