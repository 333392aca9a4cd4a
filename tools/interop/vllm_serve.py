"""Answers of an encrypted checkpoint served by stock vLLM on a CPU, against the plain checkpoint's in the same engine.

    python3 tools/interop/vllm_serve.py --venv VENV --equicrypt BINARY --plain DIR [--work DIR] [--profiles permute,rotate]
        [--store f32|bf16] [--dtype float32|bfloat16] [--prompts N] [--max-new-tokens M] [--parallel N] [--pipeline N]
        [--nodes N] [--engine-flags "..."]

VENV is made where it is missing (vllm_env.py). The plain folder is encrypted in each profile under a new key; then the
plain and each encrypted folder are served by `vllm serve --tokens-only`, one after the other. Prompts go in as ids to
`/inference/v1/generate` and answers come back as ids with logprobs; encrypted ones pass through `BINARY tokens`. The
first prompt is also streamed, and sent to `/v1/completions`. With --parallel, --pipeline or --nodes only the encrypted
folders are served so; the plain one stays in one process.

Without a tokenizer in DIR the prompts are ids at random. A table goes to standard error, JSON to standard output. Exit
status 0 only if every answer has the same ids and, along them, logprobs within --logprob-tolerance.
"""

import argparse
import itertools
import json
import os
import random
import shlex
import sys
import tempfile
import time
from pathlib import Path

import vllm_env
from owner import Owner, Vocabulary, check_names_no_token
from prompts import PROMPTS

TOKENIZE = """
import json, sys
from transformers import AutoTokenizer
tokenizer = AutoTokenizer.from_pretrained(sys.argv[1])
for prompt in json.loads(sys.argv[2]):
    print(json.dumps(tokenizer.apply_chat_template([{"role": "user", "content": prompt}], add_generation_prompt=True,
                                                   return_dict=True)["input_ids"]))
"""


def main() -> int:
    options = parse()
    vllm_env.install(options.venv)
    with tempfile.TemporaryDirectory() as scratch:
        work = options.work or Path(scratch)
        work.mkdir(parents=True, exist_ok=True)
        owner = Owner(options.equicrypt, work / "owner.key")
        if not owner.key.exists():
            owner.keygen()
        prompts = prompt_ids(options)
        stops = stop_ids(options.plain)
        plain, _ = serve(options, options.plain, work / "plain.log", prompts, stops, None)
        rows = []
        for profile in options.profiles.split(","):
            folder = work / f"encrypted-{profile}-{options.store}"
            if not folder.exists():
                owner.encrypt(options.plain, folder, "--profile", profile, "--dtype", options.store)
            check_names_no_token(folder)
            found, routes = serve(options, folder, work / f"{profile}.log", prompts, stops, owner.vocabulary(folder))
            for index, (expected, answer) in enumerate(zip(plain, found)):
                rows.append(row(profile, index, prompts[index], expected, answer) | {"routes": routes[index]})
                print(rows[-1], file=sys.stderr)
        report(options, rows)
        return 0 if all(passes(options, entry) for entry in rows) else 1


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--venv", type=Path, required=True, help="the engine's environment, made where it is missing")
    parser.add_argument("--equicrypt", type=Path, required=True, help="the equicrypt binary")
    parser.add_argument("--plain", type=Path, required=True, help="the original checkpoint's folder")
    parser.add_argument("--work", type=Path, help="keep key, encrypted folders and logs here, and use what is there")
    parser.add_argument("--profiles", default="permute,rotate")
    parser.add_argument("--store", choices=["f32", "bf16"], default="f32", help="dtype of the encrypted folder")
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32", help="precision of the engine")
    parser.add_argument("--prompts", type=int, default=5, help=f"how many of the {len(PROMPTS)} built-in prompts")
    parser.add_argument("--max-new-tokens", type=int, default=48)
    parser.add_argument("--logprob-tolerance", type=float, default=0.001)
    parser.add_argument("--parallel", type=int, default=1, help="processes that share each layer's heads and neurons")
    parser.add_argument("--pipeline", type=int, default=1, help="processes that hold one part of the layers each")
    parser.add_argument("--nodes", type=int, default=1, help="vllm serve commands, as on so many machines")
    parser.add_argument("--engine-flags", default="--enforce-eager", help="more flags of vllm serve")
    options = parser.parse_args()
    if not 1 <= options.prompts <= len(PROMPTS) or options.max_new_tokens < 1:
        parser.error(f"--prompts must be 1 to {len(PROMPTS)}, --max-new-tokens at least 1")
    return options


def prompt_ids(options: argparse.Namespace) -> list[list[int]]:
    if (options.plain / "tokenizer.json").exists():
        lines = vllm_env.run(options.venv / "bin" / "python", "-c", TOKENIZE, options.plain,
                             json.dumps(PROMPTS[:options.prompts]))
        return [json.loads(line) for line in lines.splitlines()]
    size = json.loads((options.plain / "config.json").read_text())["vocab_size"]
    source = random.Random(7)
    return [[source.randrange(size) for _ in range(source.randrange(4, 60))] for _ in range(options.prompts)]


def stop_ids(plain: Path) -> list[int]:
    for name in ("generation_config.json", "config.json"):
        if (plain / name).exists():
            stops = json.loads((plain / name).read_text()).get("eos_token_id")
            if stops is not None:
                return stops if isinstance(stops, list) else [stops]
    return []


def serve(options: argparse.Namespace, folder: Path, log: Path, prompts: list[list[int]], stops: list[int],
          vocabulary: Vocabulary | None) -> tuple[list[tuple[list[int], list[float]]], list[bool | None]]:
    """Plain ids and logprobs for each prompt, and whether the other routes of the server gave the same ids."""
    flags, processes, nodes = shlex.split(options.engine_flags), 1, 1
    if vocabulary:
        stops = [cipher for stop in stops for cipher in vocabulary.classes(stop)]
        processes, nodes = options.parallel * options.pipeline, options.nodes
        flags += ["--tensor-parallel-size", str(options.parallel), "--pipeline-parallel-size", str(options.pipeline)]
    answers, routes = [], []
    with vllm_env.serve(options.venv, folder, log.resolve(), options.dtype, flags, processes, nodes) as server:
        for index, ids in enumerate(prompts):
            sent = vocabulary.encrypt(ids) if vocabulary else ids
            limit = options.max_new_tokens
            answer, logprobs = server.generate(sent, limit, stops)
            same = None
            if index == 0:
                same = server.generate_streamed(sent, limit, stops) == server.complete(sent, limit, stops) == answer
            routes.append(same)
            answers.append((vocabulary.decrypt(answer) if vocabulary else answer, logprobs))
    return answers, routes


def row(profile: str, index: int, prompt: list[int], expected: tuple, found: tuple) -> dict:
    steps = zip(expected[0], found[0], expected[1], found[1])
    same = list(itertools.takewhile(lambda step: step[0] == step[1], steps))
    return {"profile": profile, "prompt": index, "prompt_tokens": len(prompt), "plain_tokens": len(expected[0]),
            "encrypted_tokens": len(found[0]), "equal_prefix": len(same),
            "logprob_difference": round(max((abs(step[2] - step[3]) for step in same), default=0.0), 8),
            "identical": expected[0] == found[0]}


def passes(options: argparse.Namespace, entry: dict) -> bool:
    return (entry["identical"] and entry["logprob_difference"] <= options.logprob_tolerance
            and entry["routes"] is not False)


def report(options: argparse.Namespace, rows: list[dict]) -> None:
    for profile in dict.fromkeys(entry["profile"] for entry in rows):
        those = [entry for entry in rows if entry["profile"] == profile]
        identical = sum(entry["identical"] for entry in those)
        difference = max(entry["logprob_difference"] for entry in those)
        tokens = sum(entry["equal_prefix"] for entry in those)
        print(f"{profile}: {identical} of {len(those)} answers identical ({tokens} tokens), logprobs within "
              f"{difference:.1e}", file=sys.stderr)
    print(json.dumps({"vllm": vllm_env.version(), "store": options.store, "dtype": options.dtype,
                      "parallel": options.parallel, "pipeline": options.pipeline, "nodes": options.nodes,
                      "engine_flags": options.engine_flags, "cores": len(os.sched_getaffinity(0)),
                      "identical": sum(entry["identical"] for entry in rows), "of": len(rows),
                      "logprob_difference": max(entry["logprob_difference"] for entry in rows),
                      "seconds": round(time.monotonic() - STARTED, 1), "answers": rows}))


STARTED = time.monotonic()

if __name__ == "__main__":
    sys.exit(main())
