"""Greedy answers of encrypted tiny decoders of each family in stock vLLM on a CPU, against the plain ones'.

    python3 tools/interop/vllm_tiny.py --venv VENV --equicrypt BINARY [--work DIR] [MODEL_TYPE]...

VENV is made where it is missing (vllm_env.py). Each family has a tiny model whose heads are as wide as vLLM's CPU
attention takes them, weights by the formula of tools/golden/tiny_weights.py. It is encrypted in both profiles, stored and run
in f32; vLLM answers seeded random ids, and the ids and logprobs of the answers are compared. A family that vLLM does
not run even unencrypted is reported as such with its error. A table goes to standard error, JSON to standard output.
Exit status 0 only if no family that runs plain differs encrypted.
"""

import argparse
import itertools
import json
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import vllm_env
from owner import Owner, check_names_no_token
from vllm_models import MODELS

HERE = Path(__file__).resolve().parent
TOLERANCE = 1e-3
PROFILES = ("permute", "rotate")
NEW_TOKENS = 16
PROMPT_LENGTHS = (5, 17, 30)


def main() -> int:
    options = parse()
    vllm_env.install(options.venv)
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        work = options.work or Path(scratch)
        work.mkdir(parents=True, exist_ok=True)
        owner = Owner(options.equicrypt, work / "owner.key")
        if not owner.key.exists():
            owner.keygen()
        for family in options.families or MODELS:
            for row in measure(options, owner, work / family, family):
                rows.append(row)
                print(row, file=sys.stderr, flush=True)
    ran = [row for row in rows if row["plain"] == "runs"]
    print(json.dumps({"vllm": vllm_env.version(), "store": "f32", "dtype": "float32", "tolerance": TOLERANCE,
                      "identical": sum(row["holds"] for row in ran), "of": len(ran),
                      "not_run_plain": sorted({row["family"] for row in rows} - {row["family"] for row in ran}),
                      "seconds": round(time.monotonic() - STARTED, 1), "rows": rows}))
    return 0 if ran and all(row["holds"] for row in ran) else 1


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--venv", type=Path, required=True, help="the engine's environment, made where it is missing")
    parser.add_argument("--equicrypt", type=Path, required=True, help="the equicrypt binary")
    parser.add_argument("--work", type=Path, help="keep key, folders and logs here")
    parser.add_argument("families", nargs="*", metavar="MODEL_TYPE", help=f"of {', '.join(MODELS)}")
    return parser.parse_args()


def measure(options: argparse.Namespace, owner: Owner, folder: Path, family: str) -> list[dict]:
    plain = folder / "plain"
    if not plain.exists():
        vllm_env.run(options.venv / "bin" / "python", HERE / "vllm_models.py", family, plain)
    size = json.loads((plain / "config.json").read_text())["vocab_size"]
    source = random.Random(7)
    prompts = [[source.randrange(size) for _ in range(length)] for length in PROMPT_LENGTHS]
    vocabularies = {}
    jobs = [[str(plain.resolve()), prompts]]
    for profile in PROFILES:
        encrypted = folder / profile
        if not encrypted.exists():
            owner.encrypt(plain, encrypted, "--profile", profile, "--dtype", "f32")
        check_names_no_token(encrypted)
        vocabularies[profile] = owner.vocabulary(encrypted)
        jobs.append([str(encrypted.resolve()), [vocabularies[profile].encrypt(ids) for ids in prompts]])
    answers, error = run_engine(options, folder, jobs)
    if not answers:
        return [{"family": family, "profile": None, "plain": error, "holds": False}]
    rows = []
    for index, profile in enumerate(PROFILES, start=1):
        row = {"family": family, "profile": profile, "plain": "runs", "holds": False}
        if index >= len(answers):
            rows.append(row | {"error": error if index == len(answers) else "not reached"})
            continue
        vocabulary = vocabularies[profile]
        pairs = [(before, (vocabulary.decrypt(after[0]), after[1])) for before, after in zip(answers[0], answers[index])]
        identical = sum(before[0] == after[0] for before, after in pairs)
        difference = max(along(before, after) for before, after in pairs)
        different_ids = len({token for before, _ in pairs for token in before[0]})
        rows.append(row | {"identical": identical, "of": len(pairs), "different_ids": different_ids,
                           "logprob_difference": round(difference, 8),
                           "holds": identical == len(pairs) and difference <= TOLERANCE})
    return rows


def run_engine(options: argparse.Namespace, folder: Path, jobs: list) -> tuple[list, str]:
    """What the engine answered for each job until it failed, and the error it failed with."""
    command = [options.venv.resolve() / "bin" / "python", HERE / "vllm_offline.py", "float32", str(NEW_TOKENS)]
    done = subprocess.run(command, input=json.dumps(jobs), capture_output=True, text=True, cwd=folder,
                          env=vllm_env.environment(1))
    (folder / "engine.log").write_text(done.stdout + done.stderr)
    answers = [json.loads(line.removeprefix("ANSWERS ")) for line in done.stdout.splitlines()
               if line.startswith("ANSWERS ")]
    errors = [line for line in (done.stdout + done.stderr).splitlines() if "Error" in line]
    error = errors[0].split("] ")[-1][-300:].strip() if errors else f"status {done.returncode}"
    return answers, error


def along(before: tuple, after: tuple) -> float:
    """The largest difference of logprobs along the part where both answers are the same."""
    steps = zip(before[0], after[0], before[1], after[1])
    same = itertools.takewhile(lambda step: step[0] == step[1], steps)
    return max((abs(step[2] - step[3]) for step in same), default=0.0)


STARTED = time.monotonic()

if __name__ == "__main__":
    sys.exit(main())
