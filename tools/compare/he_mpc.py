"""The same MiniLM layer, and the whole model, in the plain engine, under EE, by shares, under HE (CKKS) and under MPC: one run.

    tools/setup_venv.sh VENV
    BINARY fetch minilm-l6-v2 -o MINILM
    VENV/bin/python tools/compare/he_mpc.py --equicrypt BINARY --minilm MINILM --scratch SCRATCH [--tokens 16] [--systems ...]

Every system gets the same sentence and has to give its embedding: the real weights, attention with softmax, GELU, LayerNorm,
mean and length 1. Scope "1 layer" is the first layer, "6 layers" is all-MiniLM-L6-v2.

    plain       `equicrypt serve` on the folder as it is: ids over HTTP
    encrypted   `equicrypt serve` on the encrypted folder: cipher ids over HTTP
    shares      `equicrypt gateway --shares` and two `shares serve`, over sealed TCP: plain ids over HTTP to the gateway
    ckks        linear layers in TenSEAL on a host, all else at the client (ckks_layer.py)
    aby3        SPU, three parties; the weights public (mpc_layer.py)
    aby3-secret the same with the weights shared, too
    cheetah     SPU, two parties; the weights public

All parties run on this machine and share its cores; no network is between them, so that round trips cost nothing here and
would elsewhere. Bytes: everything on the wire of plain and encrypted; what passes between the gateway and both hosts of
shares; serialized ciphertexts both ways; what SPU's links count plus the client's shares, of the last round. What is done
once (keys, weights) is not in time and bytes, but in the JSON. Times are the median of --requests requests of the engines and
of shares, and of --rounds rounds of one layer in the others, whose whole model runs once. Of the systems after --no-whole one
layer is run and multiplied: such lines are marked "extrapolated".

SCRATCH keeps the two environments (1.2 GB). SPU needs CPython 3.10 or 3.11: --python, if VENV is of another one.

A table goes to standard error, JSON to standard output. Exit status 0 only if every measured embedding has a cosine of at least
LEAST_COSINE with the one computed in float64.
"""

import argparse
import json
import statistics
import sys
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

import engine_layer
from minilm_float64 import MiniLm, embedding
from rounds import machine, use_threads
from scratch_env import ScratchEnv

# Of these many tokens, [CLS] and [SEP] included.
SENTENCES = {16: "My card was charged twice for the same order; refund me.",
             32: "The patient was given two doses of the drug and her fever was gone the following day, so she was sent "
                 "home with a letter for her doctor."}
LEAST_COSINE = 0.99
ENGINES = ("plain", "encrypted")
SYSTEMS = ("shares", "ckks", "aby3", "aby3-secret", "cheetah")
HIDES = {
    "plain": "nothing",
    "encrypted": "text from log readers, by obfuscation; nothing from a host with the original",
    "shares": "text from each of 2 hosts, if they do not collude",
    "ckks": "text from the host (RLWE); weights not from a client who asks enough",
    "aby3": "text from each of 3 hosts, if no 2 collude",
    "aby3-secret": "text and weights from each of 3 hosts, if no 2 collude",
    "cheetah": "text from each of 2 hosts, if they do not collude",
}


def main() -> int:
    options = parse()
    use_threads(options.threads)
    text = SENTENCES[options.tokens]
    ids = token_ids(options.minilm, options.tokens, text)
    layers = MiniLm(options.minilm, sys.maxsize).layers
    found = Table(options, ids, layers)
    for scope in (1, layers):
        answers = engine_layer.measure(options.equicrypt, options.minilm, scope, text, ids, options.requests)
        for name in ENGINES:
            found.add(name, scope, answers[name])
    for name in options.systems:
        run = {"shares": shares, "ckks": ckks}.get(name, mpc)
        one = run(options, ids, name, 1, options.rounds)
        found.add(name, 1, one)
        if name in options.no_whole:
            found.add(name, layers, one, times=layers)
        else:
            found.add(name, layers, run(options, ids, name, layers, 1))
    print(json.dumps({"machine": machine(options.threads), "sentence": text, "tokens": options.tokens, "rows": found.rows}))
    least = min(row["cosine"] for row in found.rows if not row["extrapolated"])
    if least < LEAST_COSINE:
        print(f"he_mpc.py: an embedding has a cosine of {least} with the true one", file=sys.stderr)
        return 1
    return 0


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--equicrypt", type=Path, required=True, help="the equicrypt binary, a release build")
    parser.add_argument("--minilm", type=Path, required=True, help="the folder that `fetch minilm-l6-v2` makes")
    parser.add_argument("--scratch", type=Path, required=True, help="where TenSEAL and SPU are installed, once")
    parser.add_argument("--python", type=Path, default=Path(sys.executable), help="CPython 3.10 or 3.11, for SPU")
    parser.add_argument("--systems", nargs="*", choices=SYSTEMS, default=list(SYSTEMS))
    parser.add_argument("--no-whole", nargs="*", choices=SYSTEMS, default=["aby3-secret", "cheetah"],
                        help="systems of which only one layer is run")
    parser.add_argument("--tokens", type=int, choices=SENTENCES, default=16)
    parser.add_argument("--threads", type=int, default=2, help="of the engines, and processes of the CKKS host")
    parser.add_argument("--requests", type=int, default=300, help="to each engine")
    parser.add_argument("--rounds", type=int, default=3, help="of one layer in the other systems")
    return parser.parse_args()


def token_ids(minilm: Path, tokens: int, text: str) -> list[int]:
    tokenizer = Tokenizer.from_file(str(minilm / "tokenizer.json"))
    tokenizer.no_padding()
    ids = tokenizer.encode(text).ids
    if len(ids) != tokens:
        raise SystemExit(f"{minilm}: expected {tokens} tokens for {text!r}, found {len(ids)}")
    return ids


def shares(options: argparse.Namespace, ids: list[int], _: str, layers: int, __: int) -> dict:
    return engine_layer.measure_shares(options.equicrypt, options.minilm, layers, ids, options.requests)


def ckks(options: argparse.Namespace, ids: list[int], _: str, layers: int, rounds: int) -> dict:
    env = ScratchEnv(options.scratch, "ckks", Path(sys.executable))
    answer = env.run("ckks_layer.py", "--minilm", options.minilm, "--ids", json.dumps(ids), "--layers", layers,
                     "--processes", options.threads, "--rounds", rounds)
    return measured(answer, answer["sent"] + answer["received"], 0,
                    ("version", "host_seconds", "sent", "received", "round_trips", "key_bytes", "prepare_seconds"))


def mpc(options: argparse.Namespace, ids: list[int], name: str, layers: int, rounds: int) -> dict:
    env = ScratchEnv(options.scratch, "spu", options.python)
    protocol, _, weights = name.partition("-")
    answer = env.run("mpc_layer.py", "--minilm", options.minilm, "--ids", json.dumps(ids), "--layers", layers,
                     "--protocol", protocol, "--weights", weights or "public", "--rounds", rounds)
    return measured(answer, answer["between_parties"], answer["client_sent"] + answer["client_received"],
                    ("version", "between_parties", "messages", "client_sent", "client_received", "gelu_error"))


def measured(answer: dict, inside: int, ends: int, details: tuple[str, ...]) -> dict:
    """`inside`: bytes that grow with the layers; `ends`: those of input and output."""
    return {"seconds": statistics.median(answer["seconds"]), "bytes": inside, "end_bytes": ends,
            "embedding": embedding(np.array(answer["hidden"])),
            "details": {name: answer[name] for name in details} | {"seconds": answer["seconds"]}}


class Table:
    """One row a system and scope, printed when it is known."""

    def __init__(self, options: argparse.Namespace, ids: list[int], layers: int) -> None:
        self.tokens, self.rows, self.plain = len(ids), [], {}
        self.true = {scope: embedding(MiniLm(options.minilm, scope).after(ids)) for scope in (1, layers)}
        print(f"{'system':12} {'scope':9} {'tokens':>6} {'ms/token':>10} {'x plain':>9} {'bytes/token':>12} "
              f"{'max error':>10}  hides", file=sys.stderr)

    def add(self, name: str, scope: int, answer: dict, times: int = 1) -> None:
        """`times`: the answer is of that many times fewer layers."""
        seconds, sent = answer["seconds"] * times, answer["bytes"] * times + answer.get("end_bytes", 0)
        self.plain.setdefault(scope, seconds)
        row = {"system": name, "layers": scope, "tokens": self.tokens, "seconds_per_token": seconds / self.tokens,
               "ratio_to_plain": seconds / self.plain[scope], "bytes_per_token": sent / self.tokens,
               "max_error": None, "cosine": None, "extrapolated": times != 1, "hides": HIDES[name],
               "details": answer.get("details", {})}
        if times == 1:
            row["max_error"] = float(np.abs(answer["embedding"] - self.true[scope]).max())
            row["cosine"] = float(answer["embedding"] @ self.true[scope])
        self.rows.append(row)
        error = "not run" if row["max_error"] is None else f"{row['max_error']:.1e}"
        print(f"{name:12} {scope} layer{'s' if scope > 1 else ' '}{'*' if times != 1 else ' '} {self.tokens:6} "
              f"{1e3 * row['seconds_per_token']:10.3f} {row['ratio_to_plain']:9.2f} {row['bytes_per_token']:12,.0f} "
              f"{error:>10}  {row['hides']}{' *: extrapolated' if times != 1 else ''}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
