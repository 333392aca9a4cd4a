"""The same MiniLM in `equicrypt serve`, plain and encrypted, and over two hosts (`equicrypt shares`), for he_mpc.py:
seconds, bytes on the wire, decrypted answers.

One layer is a model of its own here: the folder cut down to its first layer, encrypted and served like the whole.
"""

import base64
import json
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file

sys.path.append(str(Path(__file__).resolve().parents[1] / "interop"))
from owner import Owner  # noqa: E402
from served import Served  # noqa: E402

WARM_UP = 20


def measure(binary: Path, minilm: Path, layers: int, text: str, ids: list[int], requests: int) -> dict[str, dict]:
    """{"plain": ..., "encrypted": ...}; the two take turns, request by request."""
    with tempfile.TemporaryDirectory() as scratch:
        plain, encrypted = Path(scratch) / "plain", Path(scratch) / "encrypted"
        cut(minilm, plain, layers)
        owner = Owner(binary, Path(scratch) / "owner.key")
        owner.keygen()
        owner.encrypt(plain, encrypted)
        cipher_ids = owner.vocabulary(encrypted).encrypt(ids)
        with serve(binary, plain) as one, serve(binary, encrypted) as other:
            wires = [(Wire(one.url), ids), (Wire(other.url), cipher_ids)]
            for wire, sent in wires * WARM_UP:
                wire.embed(sent)
            timed = [[wire.embed(sent) for wire, sent in wires] for _ in range(requests)]
            decrypted = json.loads(owner.must("embed", "--key", owner.key, "--model", plain, "--host", other.url,
                                              "--host-keys", Path(scratch) / "hosts.json", text))["embedding"]
        found = {"plain": timed[-1][0][1], "encrypted": np.array(decrypted)}
        return {name: {"seconds": statistics.median(turn[place][0] for turn in timed),
                       "bytes": timed[-1][place][2], "embedding": found[name]}
                for place, name in enumerate(found)}


def measure_shares(binary: Path, minilm: Path, layers: int, ids: list[int], requests: int) -> dict:
    """The gateway is asked by HTTP, in plain ids; bytes are those between it and both hosts."""
    with tempfile.TemporaryDirectory() as scratch:
        plain, owner = Path(scratch) / "plain", Path(scratch) / "owner"
        cut(minilm, plain, layers)
        subprocess.run([binary, "shares", "prepare", plain, "-o", owner], check=True, stdout=subprocess.DEVNULL)
        linear = (binary, "shares", "serve", plain, "--listen", "tcp://127.0.0.1:0")
        with Served(*linear) as a, Served(*linear) as b:
            gateway = Served(binary, "gateway", "--model", owner, "--shares", f"{a.url},{b.url}", "--listen", "127.0.0.1:0")
            with gateway:
                wire = Wire(gateway.url)
                timed = [wire.embed(ids) for _ in range(WARM_UP + requests)]
    parts = re.findall(r"(to|from) [AB] ([\d.]+) MB", gateway.said)
    tokens = int(re.search(r"(\d+) tokens in", gateway.said)[1])
    if len(parts) != 4 or tokens != len(ids) * len(timed):
        raise SystemExit(f"{binary} gateway: expected {len(ids) * len(timed)} tokens and four ways, found {gateway.said!r}")
    sent = 1e6 * sum(float(megabytes) for _, megabytes in parts) / len(timed)
    return {"seconds": statistics.median(turn[0] for turn in timed[WARM_UP:]), "bytes": sent, "embedding": timed[-1][1]}


def serve(binary: Path, folder: Path) -> Served:
    return Served(binary, "serve", folder, "--listen", "127.0.0.1:0")


def cut(minilm: Path, folder: Path, layers: int) -> None:
    """A copy with the first `layers` layers."""
    shutil.copytree(minilm, folder)
    file = folder / "config.json"
    config = json.loads(file.read_text())
    if config["num_hidden_layers"] == layers:
        return
    kept = [f"encoder.layer.{layer}." for layer in range(layers)]
    tensors = {name: tensor for name, tensor in load_file(folder / "model.safetensors").items()
               if not name.startswith("encoder.layer.") or any(name.startswith(start) for start in kept)}
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    file.write_text(json.dumps(config | {"num_hidden_layers": layers}))


class Wire:
    """One kept-open connection to a host; counts every byte that it carries."""

    def __init__(self, url: str) -> None:
        self.place = url.removeprefix("http://")
        host, port = self.place.rsplit(":", 1)
        self.socket = socket.create_connection((host, int(port)))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def embed(self, ids: list[int]) -> tuple[float, np.ndarray, int]:
        """Seconds, the embedding as the host gave it, bytes both ways."""
        body = json.dumps({"input": [ids], "encoding_format": "base64"}).encode()
        head = (f"POST /v1/embeddings HTTP/1.1\r\nhost: {self.place}\r\ncontent-type: application/json\r\n"
                f"content-length: {len(body)}\r\n\r\n").encode()
        start = time.perf_counter()
        self.socket.sendall(head + body)
        answer, received = self.answer()
        seconds = time.perf_counter() - start
        vector = np.frombuffer(base64.b64decode(answer["data"][0]["embedding"]), dtype="<f4")
        return seconds, vector, len(head) + len(body) + received

    def answer(self) -> tuple[dict, int]:
        data = b""
        while b"\r\n\r\n" not in data:
            data += self.more()
        head, body = data.split(b"\r\n\r\n", 1)
        status, *lines = head.decode().split("\r\n")
        fields = dict(line.lower().split(": ", 1) for line in lines)
        while len(body) < int(fields["content-length"]):
            body += self.more()
        if " 200 " not in status:
            raise SystemExit(f"{self.place} answered {status}: {body.decode()}")
        return json.loads(body), len(head) + 4 + len(body)

    def more(self) -> bytes:
        data = self.socket.recv(1 << 16)
        if not data:
            raise SystemExit(f"{self.place} closed the connection")
        return data
