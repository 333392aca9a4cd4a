"""An encrypted GGUF file spread over two RPC servers of llama.cpp, against one process and against the plain model.

    VENV/bin/python tools/interop/llama_cpp_rpc.py (--build DIR | --server LLAMA_SERVER) --model HF_DIR
        --equicrypt BINARY [--format f32|bf16|q8_0|q4_k] [--profile permute|rotate] [--prompts N] [--max-new-tokens M]
        [--work DIR]

Two `ggml-rpc-server` on 127.0.0.1 and `llama-server --rpc A,B -ngl 99 -ts 1,1` on the encrypted file. Where the layers
are is read from llama-server's log: the run fails unless each RPC server has some, this machine's CPU none, and each
server's process holds at least its weights (/proc, so on Linux only). The answers must be those of one llama-server on
the same file and, for f32 (EXACT in llama_cpp.py), of one llama-server on the plain file.

A table goes to standard error, JSON to standard output. Exit status 0 only if every line holds.
"""

import argparse
import json
import re
import sys
import tempfile
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

from llama_answers import Engine, GgufVocabulary, difference, prompt_ids
from llama_cpp import EXACT, FORMATS, Files, add_common, checked, same
from llama_server import TOP, LlamaServer, RpcServer, Step

SPREAD = ["-ngl", 99, "-ts", "1,1", "-fit", "off", "-lv", 5]
DEVICE = re.compile(r"using device (RPC\d+) \(([^)]+)\)")
WEIGHTS = re.compile(r"RPC\d+\[([^\]]+)\] model buffer size = +([\d.]+) MiB")
LAYER = re.compile(r"layer +(\d+) assigned to device (\S+),")


def main() -> int:
    options = parse()
    with tempfile.TemporaryDirectory() as scratch:
        work = options.work or Path(scratch)
        work.mkdir(parents=True, exist_ok=True)
        rows, placement = measure(options, Files(options, work), work)
    for row in rows:
        print(line(row), file=sys.stderr)
    for device in placement:
        print("{device} at {address}: {layers} layers, {buffer_mib:.0f} MiB of weights, {resident_mib:.0f} MiB resident"
              .format(**device), file=sys.stderr)
    print(json.dumps({"profile": options.profile, "format": options.format, "devices": placement,
                      "seconds": round(time.monotonic() - STARTED, 1), "rows": rows}))
    return 0 if all(row["holds"] for row in rows) else 1


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    add_common(parser)
    parser.add_argument("--format", choices=FORMATS, default="f32")
    parser.add_argument("--profile", choices=["permute", "rotate"], default="rotate")
    return checked(parser)


def measure(options: argparse.Namespace, files: Files, work: Path) -> tuple[list[dict], list[dict]]:
    prompts = prompt_ids(options.model, options.prompts)
    folder = files.encrypted(options.profile, options.format)
    vocabulary = GgufVocabulary(files.owner, folder)
    gguf = folder / "model.gguf"
    spread, placement = ask_spread(options, work, gguf, vocabulary, prompts)
    single = ask_one(options, work / "rpc-single.log", gguf, vocabulary, prompts)
    plain = ask_one(options, work / "rpc-plain.log", files.plain(options.format), None, prompts)
    rows = [{"against": "one process, same file", "exact": True, **difference(single, spread)},
            {"against": f"plain {options.format}", "exact": (options.profile, options.format) in EXACT,
             **difference(plain, spread)}]
    return [{**row, "holds": same(row) or not row["exact"]} for row in rows], placement


def ask_spread(options: argparse.Namespace, work: Path, gguf: Path, vocabulary: GgufVocabulary,
               prompts: list[list[int]]) -> tuple[list[list[Step]], list[dict]]:
    program = options.server.with_name("ggml-rpc-server")
    with ExitStack() as stack:
        rpc = [stack.enter_context(RpcServer(program, work / f"rpc-{index}.log")) for index in range(2)]
        log = work / "rpc-spread.log"
        addresses = ",".join(server.address for server in rpc)
        server = stack.enter_context(LlamaServer(options.server, gguf, log, "--rpc", addresses, *SPREAD))
        print("+", " ".join(server.command), file=sys.stderr)
        engine = Engine(server, vocabulary)
        answers = [engine.answer(prompt, options.max_new_tokens) for prompt in prompts]
        return answers, placement_of(log, rpc)


def ask_one(options: argparse.Namespace, log: Path, gguf: Path, vocabulary: GgufVocabulary | None,
            prompts: list[list[int]]) -> list[list[Step]]:
    with LlamaServer(options.server, gguf, log, threads=options.threads) as server:
        return [Engine(server, vocabulary).answer(prompt, options.max_new_tokens) for prompt in prompts]


def placement_of(log: Path, rpc: list[RpcServer]) -> list[dict]:
    """What llama-server's log says of each RPC device, and what its process holds; the output matrix is one layer."""
    text = log.read_text(errors="replace")
    address_of = dict(DEVICE.findall(text))
    weights = {address: float(size) for address, size in WEIGHTS.findall(text)}
    layers = Counter(dict(LAYER.findall(text)).values())
    if {address_of.get(device) for device in layers} != {server.address for server in rpc}:
        raise SystemExit(f"expected every layer on one of two RPC servers, and some on each; {log} has {dict(layers)}")
    pid_of = {server.address: server.child.pid for server in rpc}
    devices = [{"device": device, "address": address_of[device], "layers": count,
                "buffer_mib": weights.get(address_of[device], 0.0),
                "resident_mib": resident_mib(pid_of[address_of[device]])} for device, count in sorted(layers.items())]
    for device in devices:
        if not 0 < device["buffer_mib"] <= device["resident_mib"]:
            raise SystemExit(f"the server at {device['address']} does not hold its weights: {device}")
    return devices


def resident_mib(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+) kB", status)[1]) / 1024


def line(row: dict) -> str:
    verdict = ("ok" if row["holds"] else "FAIL") if row["exact"] else "measured, the format rounds"
    return (f"against {row['against']}: {verdict}, {row['identical']}/{row['of']} answers, "
            f"{row['equal_ids']}/{row['ids']} ids, logprobs to {row['chosen_logprob']:.1e} "
            f"(likeliest {TOP}: {row['top_logprobs']:.1e})")


STARTED = time.monotonic()

if __name__ == "__main__":
    sys.exit(main())
