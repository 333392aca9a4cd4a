"""Processes of a gateway's surroundings, and someone on the wire between it and its host.

`Served(command, name)` runs a command that prints `serving NAME on URL`; `Wire(url)` forwards connections to a host and
keeps every byte of both directions.
"""

import os
import select
import socket
import subprocess
import tempfile
import threading
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit


class Served:
    """A child process that serves; `url` is where."""

    def __init__(self, *command: object) -> None:
        # Counts of tests are nobody's.
        self.state = tempfile.TemporaryDirectory()
        env = {**os.environ, "EQUICRYPT_GATEWAY_BUDGET": "off", "XDG_STATE_HOME": self.state.name}
        self.child = subprocess.Popen([str(word) for word in command], stdout=subprocess.PIPE, text=True, env=env)
        line = self.child.stdout.readline()
        if " on http://" not in line:
            raise SystemExit(f"{command[0]} {command[1]}: expected a line `serving NAME on URL`, found {line!r}")
        self.url = line.rsplit(" on ", 1)[1].strip()

    def __enter__(self) -> "Served":
        return self

    def __exit__(self, *_: object) -> None:
        self.child.terminate()
        self.child.wait()
        self.state.cleanup()

    def metric(self, name: str) -> int:
        with urllib.request.urlopen(f"{self.url}/metrics") as answer:
            lines = answer.read().decode().splitlines()
        return next(int(line.split()[-1]) for line in lines if line.startswith(name + " "))


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
