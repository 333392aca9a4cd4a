"""MiniLM with its linear layers under CKKS on a host, and everything else at the client. he_mpc.py runs it.

    CKKS_VENV/bin/python tools/compare/ckks_layer.py --minilm MINILM --ids '[101, ..., 102]' --layers 6 --processes 2

CKKS adds and multiplies. Softmax, GELU and LayerNorm are none of these, so this is the interactive variant: of each layer,
the client sends four encrypted activations (into q, k and v; into the attention's output; into each half of the MLP),
decrypts what comes back, and does the rest itself in float64, exactly. The client knows embeddings and norms; the weights
of the linear layers are the host's, and so are the biases.

Prints JSON: seconds of each run, bytes of ciphertexts up and down, the bytes of the rotation keys (sent once), seconds of
preparing the weights (once), and the hidden states.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path

import numpy as np
import tenseal
import tenseal.sealapi as seal

import ckks_linear as linear
from minilm_float64 import MiniLm, act, name_of

LINEARS = ("q", "k", "v", "o", "up", "down")


def main() -> None:
    options = parse()
    shared = linear.context()
    model = MiniLm(options.minilm, options.layers)
    start = time.perf_counter()
    linears = {name_of(layer, part): linear.Linear(shared, *model.weight(layer, part))
               for layer in range(model.layers) for part in LINEARS}
    prepared = time.perf_counter() - start
    hosts = linear.Hosts(shared, linears, options.processes)
    client = Client(shared, options.minilm, model.layers, hosts)
    seconds, server_seconds = [], []
    for _ in range(options.rounds):
        hosts.sent = hosts.received = hosts.turns = hosts.host_seconds = 0
        start = time.perf_counter()
        hidden = client.after(options.ids)
        seconds.append(time.perf_counter() - start)
        server_seconds.append(hosts.host_seconds)
    hosts.close()
    print(json.dumps({"version": f"TenSEAL {tenseal.__version__}", "seconds": seconds, "host_seconds": server_seconds,
                      "sent": hosts.sent, "received": hosts.received, "round_trips": hosts.turns,
                      "key_bytes": client.key_bytes, "prepare_seconds": prepared, "hidden": hidden.tolist()}))


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--minilm", type=Path, required=True)
    parser.add_argument("--ids", type=json.loads, required=True, help="token ids, a JSON array")
    parser.add_argument("--layers", type=int, required=True)
    parser.add_argument("--processes", type=int, required=True, help="of the host")
    parser.add_argument("--rounds", type=int, default=1)
    return parser.parse_args()


class Client(MiniLm):
    """Has the secret key, which is made after the host's processes were started."""

    def __init__(self, shared: seal.SEALContext, folder: Path, layers: int, hosts: linear.Hosts) -> None:
        super().__init__(folder, layers)
        self.shared, self.hosts = shared, hosts
        generator = seal.KeyGenerator(shared)
        secret, public = generator.secret_key(), seal.PublicKey()
        generator.create_public_key(public)
        self.encoder = seal.CKKSEncoder(shared)
        self.encryptor, self.decryptor = seal.Encryptor(shared, public, secret), seal.Decryptor(shared, secret)
        self.folder = tempfile.TemporaryDirectory()
        self.file = Path(self.folder.name) / "object"
        galois = linear.saved(generator.create_galois_keys(linear.rotations()), self.file)
        self.key_bytes = len(galois)
        hosts.keys(galois)

    def block(self, h: np.ndarray, layer: int) -> np.ndarray:
        q, k, v = self.remote(h, layer, "q", "k", "v")
        mixed = self.mixed(q, k, v, 0.0)
        h = self.norm(h + self.remote(mixed, layer, "o")[0], name_of(layer, "attention norm"))
        wide = act(self.remote(h, layer, "up")[0], "gelu")
        return self.norm(h + self.remote(wide, layer, "down")[0], name_of(layer, "last norm"))

    def remote(self, x: np.ndarray, layer: int, *parts: str) -> list[np.ndarray]:
        """x through linear layers that take the same input."""
        names = [name_of(layer, part) for part in parts]
        widths = [len(self.weights[f"{name}.bias"]) for name in names]
        groups = [self.encrypt(x[start : start + linear.TOKENS]) for start in range(0, len(x), linear.TOKENS)]
        tokens = [min(linear.TOKENS, len(x) - start) for start in range(0, len(x), linear.TOKENS)]
        answers = [self.decrypt(group, count) for group, count in zip(self.hosts.ask(names, groups), tokens)]
        columns, outputs = np.concatenate(answers), []
        for width in widths:
            outputs.append(columns[:, :width])
            columns = columns[:, -(-width // linear.WIDTH) * linear.WIDTH :]
        return outputs

    def encrypt(self, rows: np.ndarray) -> list[bytes]:
        """One ciphertext for each WIDTH coordinates; under the secret key, which makes it half as long on the way."""
        ciphertexts = []
        for start in range(0, rows.shape[1], linear.WIDTH):
            slots = np.zeros((linear.WIDTH, linear.TOKENS))
            part = rows[:, start : start + linear.WIDTH]
            slots[: part.shape[1], : len(part)] = part.T
            plaintext = seal.Plaintext()
            self.encoder.encode(slots.ravel().tolist(), linear.SCALE, plaintext)
            ciphertexts.append(linear.saved(self.encryptor.encrypt_symmetric(plaintext), self.file))
        return ciphertexts

    def decrypt(self, ciphertexts: list[bytes], tokens: int) -> np.ndarray:
        parts = []
        for data in ciphertexts:
            plaintext = seal.Plaintext()
            self.decryptor.decrypt(linear.loaded(self.shared, data, self.file), plaintext)
            slots = np.array(self.encoder.decode_double(plaintext)).reshape(linear.WIDTH, linear.TOKENS)
            parts.append(slots.T[:tokens])
        return np.concatenate(parts, axis=1)


if __name__ == "__main__":
    main()
