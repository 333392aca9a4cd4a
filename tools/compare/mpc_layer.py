"""MiniLM on secret shares between two or three processes of SPU. he_mpc.py runs it.

    SPU_VENV/bin/python tools/compare/mpc_layer.py --minilm MINILM --ids '[101, ..., 102]' --layers 1 --protocol aby3

The client (this process) looks the embeddings up, splits them into shares, gives one to each party, and adds up the shares
that come back: sentence and result are known to it alone. With --weights public every party knows the weights, as with a model
that everybody can download; with --weights secret they are shared too.

Prints JSON: seconds of each run, bytes and messages between the parties (as SPU counts them) and to and from the client,
and the hidden states.
"""

import argparse
import json
import multiprocessing
import socket
import tempfile
import time
from pathlib import Path

import numpy as np
import spu
import spu.utils.frontend as frontend
from spu import libspu

import mpc_model
import mpc_party
from minilm_float64 import MiniLm

PROTOCOLS = {"aby3": (libspu.ProtocolKind.ABY3, 3), "cheetah": (libspu.ProtocolKind.CHEETAH, 2)}
FRACTION_BITS = 18
VISIBILITY = {"public": libspu.Visibility.VIS_PUBLIC, "secret": libspu.Visibility.VIS_SECRET}
INPUT = "x"


def main() -> None:
    options = parse()
    model = MiniLm(options.minilm, options.layers)
    x = model.first(options.ids).astype(np.float32)
    weights = {name: tensor.astype(np.float32) for name, tensor in model.weights.items() if used(name, model.layers)}
    program = compiled(x, weights, model, VISIBILITY[options.weights])
    kind, count = PROTOCOLS[options.protocol]
    config = libspu.RuntimeConfig(protocol=kind, field=libspu.FieldType.FM64, fxp_fraction_bits=FRACTION_BITS)
    with Parties(count, config) as parties:
        parties.give(weights, VISIBILITY[options.weights])
        runs = [parties.run(program, x) for _ in range(options.rounds)]
    last = runs[-1]
    print(json.dumps({"version": f"SPU {spu.__version__}", "seconds": [run["seconds"] for run in runs],
                      "between_parties": last["between_parties"], "messages": last["messages"],
                      "client_sent": last["client_sent"], "client_received": last["client_received"],
                      "gelu_error": mpc_model.gelu_error(), "hidden": last["hidden"].tolist()}))


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--minilm", type=Path, required=True)
    parser.add_argument("--ids", type=json.loads, required=True, help="token ids, a JSON array")
    parser.add_argument("--layers", type=int, required=True)
    parser.add_argument("--protocol", choices=PROTOCOLS, required=True)
    parser.add_argument("--weights", choices=VISIBILITY, default="public")
    parser.add_argument("--rounds", type=int, default=1)
    return parser.parse_args()


def used(name: str, layers: int) -> bool:
    return any(name.startswith(f"encoder.layer.{layer}.") for layer in range(layers))


def compiled(x: np.ndarray, weights: dict, model: MiniLm, visibility: libspu.Visibility) -> tuple:
    def function(x: np.ndarray, weights: dict) -> np.ndarray:
        return mpc_model.encoder(x, weights, model.layers, model.heads, model.eps)

    names = [INPUT, *sorted(weights)]
    seen = [libspu.Visibility.VIS_SECRET] + [visibility] * len(weights)
    executable, _ = frontend.compile(frontend.Kind.JAX, function, [x, weights], {}, names, seen, lambda _: ["y"])
    return executable.name, list(executable.input_names), list(executable.output_names), executable.code


class Parties:
    def __init__(self, count: int, config: libspu.RuntimeConfig) -> None:
        self.io, self.folder = spu.Io(count, config), tempfile.TemporaryDirectory()
        spawn, ports = multiprocessing.get_context("spawn"), free_ports(count)
        self.pipes, self.processes = [], []
        mpc_party.log_to(Path(self.folder.name) / "client.log")
        for rank in range(count):
            here, there = spawn.Pipe()
            log = Path(self.folder.name) / f"{rank}.log"
            process = spawn.Process(target=mpc_party.run, daemon=True,
                                    args=(rank, ports, config.SerializeToString(), log, there))
            process.start()
            there.close()
            self.pipes.append(here)
            self.processes.append(process)

    def give(self, tensors: dict[str, np.ndarray], visibility: libspu.Visibility) -> None:
        """Once, before any input."""
        shares = {name: self.io.make_shares(tensor, visibility) for name, tensor in tensors.items()}
        for rank, pipe in enumerate(self.pipes):
            pipe.send((None, {name: mpc_party.plain(parts[rank]) for name, parts in shares.items()}))

    def run(self, program: tuple, x: np.ndarray) -> dict:
        start = time.perf_counter()
        inputs = [mpc_party.plain(part) for part in self.io.make_shares(x, libspu.Visibility.VIS_SECRET)]
        for pipe, part in zip(self.pipes, inputs):
            pipe.send((program, {INPUT: part}))
        answers = [pipe.recv() for pipe in self.pipes]
        outputs = [answer[0][0] for answer in answers]
        hidden = self.io.reconstruct([mpc_party.share(part) for part in outputs])
        return {"seconds": time.perf_counter() - start, "hidden": hidden,
                "between_parties": sum(answer[2] for answer in answers),
                "messages": sum(answer[3] for answer in answers),
                "client_sent": sum(map(size, inputs)), "client_received": sum(map(size, outputs))}

    def __enter__(self) -> "Parties":
        return self

    def __exit__(self, *_: object) -> None:
        for pipe in self.pipes:
            pipe.close()
        for process in self.processes:
            process.join(10)
            process.kill()
        self.folder.cleanup()


def size(parts: tuple[bytes, list[bytes]]) -> int:
    return len(parts[0]) + sum(map(len, parts[1]))


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


if __name__ == "__main__":
    main()
