"""Answers of encrypted GGUF files in llama.cpp's own server, against the plain model's.

    tools/setup_venv.sh VENV
    VENV/bin/python tools/interop/llama_cpp.py (--build DIR | --server LLAMA_SERVER) --model HF_DIR --equicrypt BINARY
        [--format f32|bf16|q8_0|q4_k ...] [--profile permute|rotate ...] [--prompts N] [--max-new-tokens M]
        [--work DIR] [--threads T]

For each format: `BINARY export HF_DIR -o plain.gguf --quantize FORMAT` and, for each profile, `BINARY encrypt HF_DIR
--format gguf --quantize FORMAT`, each served by an unchanged llama-server (--build makes one from source). Prompts go
in as token ids, encrypted ones through `BINARY tokens encrypt`; greedy answers come back through `tokens decrypt`.

f32, in both profiles, must give the plain file's ids and log-probabilities to 1e-3 (EXACT). llama.cpp's other products
round more than the weights: the bf16 one rounds the *activations* to bf16, so that the order of a sum shows in the last
bits. bf16 under permute is lossless in the file and is checked there: if the plain bf16 and f32 files hold the same
weights, bit for bit, so must the encrypted ones (SAME_WEIGHTS), and their answers may differ from plain f32's no more
often, to SLACK, than plain bf16's do.

The rest is lossy, a quantised block holding other weights together than in the plain file, and is measured: along the
plain f32 answers, how often the next token is the one plain f32 chooses, and how far its log-probability is off, for the
plain file of that format and for the encrypted one. A line fails if that is lower than the plain
file's by more than SLACK; q4_k, which does cost an encrypted model more, if it is below its entry in FLOORS.

A table goes to standard error, JSON to standard output. Exit status 0 only if every line holds.
"""

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

import llama_build
from gguf_weights import same_weights
from llama_answers import Engine, GgufVocabulary, agreement, deviation, difference, prompt_ids
from llama_server import TOP, LlamaServer, Step
from owner import Owner
from prompts import PROMPTS

FORMATS = ["f32", "f16", "bf16", "q8_0", "q4_k"]
EXACT = {("permute", "f32"), ("rotate", "f32")}
SAME_WEIGHTS = {("permute", "bf16")}
TOLERANCE = 1e-3
SLACK = 0.05
FLOORS = {"q4_k": 0.7}


def main() -> int:
    options = parse()
    with tempfile.TemporaryDirectory() as scratch:
        work = options.work or Path(scratch)
        work.mkdir(parents=True, exist_ok=True)
        run = Run(options, work)
        rows = []
        for number_format in options.format:
            for row in run.measure(number_format):
                rows.append(row)
                print(line(row), file=sys.stderr, flush=True)
    held = sum(row["holds"] for row in rows)
    print(f"{held} of {len(rows)} hold", file=sys.stderr)
    print(json.dumps({"llama_cpp": llama_build.VERSION if options.build else str(options.server),
                      "prompts": options.prompts, "max_new_tokens": options.max_new_tokens,
                      "seconds": round(time.monotonic() - STARTED, 1), "rows": rows}))
    return 0 if held == len(rows) else 1


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    add_common(parser)
    parser.add_argument("--format", nargs="+", choices=FORMATS, default=["f32", "bf16", "q8_0", "q4_k"])
    parser.add_argument("--profile", nargs="+", choices=["permute", "rotate"], default=["permute", "rotate"])
    return checked(parser)


def add_common(parser: argparse.ArgumentParser) -> None:
    server = parser.add_mutually_exclusive_group(required=True)
    server.add_argument("--build", type=Path, help="folder for llama.cpp, built there if it is not yet")
    server.add_argument("--server", type=Path, help="a llama-server that exists, ggml-rpc-server beside it")
    parser.add_argument("--model", type=Path, required=True, help="the original: a Hugging Face folder")
    parser.add_argument("--equicrypt", type=Path, required=True, help="the equicrypt binary")
    parser.add_argument("--prompts", type=int, default=5, help=f"how many of the {len(PROMPTS)} built-in prompts")
    parser.add_argument("--max-new-tokens", type=int, default=32)
    parser.add_argument("--work", type=Path, help="keep key, GGUF files and logs in this folder")
    parser.add_argument("--threads", type=int, default=2)


def checked(parser: argparse.ArgumentParser) -> argparse.Namespace:
    options = parser.parse_args()
    if not 1 <= options.prompts <= len(PROMPTS) or options.max_new_tokens < 1:
        parser.error(f"--prompts must be 1 to {len(PROMPTS)}, --max-new-tokens at least 1")
    options.server = llama_build.llama_server(options.build) if options.build else options.server.resolve()
    return options


class Files:
    """The plain GGUF and encrypted folders of one model, made by the binary when first asked for."""

    def __init__(self, options: argparse.Namespace, work: Path) -> None:
        self.model = options.model
        self.work = work
        self.owner = Owner(options.equicrypt, work / "owner.key")
        if not self.owner.key.exists():
            self.owner.keygen()

    def plain(self, number_format: str) -> Path:
        path = self.work / f"plain-{number_format}.gguf"
        if not path.exists():
            self.owner.must("export", self.model, "-o", path, "--quantize", number_format)
        return path

    def encrypted(self, profile: str, number_format: str) -> Path:
        path = self.work / f"{profile}-{number_format}"
        if not path.exists():
            self.owner.encrypt(self.model, path, "--profile", profile, "--format", "gguf", "--quantize", number_format)
        return path


class Run:
    """All measurements against one reference: the plain f32 file's greedy answers."""

    def __init__(self, options: argparse.Namespace, work: Path) -> None:
        self.options = options
        self.work = work
        self.files = Files(options, work)
        self.prompts = prompt_ids(options.model, options.prompts)
        self.reference, _ = self.ask(self.files.plain("f32"), None, [])

    def measure(self, number_format: str):
        lossy = any((profile, number_format) not in EXACT for profile in self.options.profile)
        plain = (self.reference, []) if number_format == "f32" else \
            self.ask(self.files.plain(number_format), None, self.reference if lossy else [])
        for profile in self.options.profile:
            folder = self.files.encrypted(profile, number_format)
            exact = (profile, number_format) in EXACT
            found = self.ask(folder / "model.gguf", GgufVocabulary(self.files.owner, folder),
                             [] if exact else self.reference)
            yield self.row(profile, number_format, plain, found)

    def ask(self, gguf: Path, vocabulary: GgufVocabulary | None, along: list[list[Step]]) \
            -> tuple[list[list[Step]], list[list[Step]]]:
        """Greedy answers, and the next token at every place of the answers `along`."""
        log = self.work / f"{gguf.parent.name if vocabulary else gguf.stem}.log"
        with LlamaServer(self.options.server, gguf, log, threads=self.options.threads) as server:
            engine = Engine(server, vocabulary)
            greedy = [engine.answer(prompt, self.options.max_new_tokens) for prompt in self.prompts]
            return greedy, [engine.follow(prompt, [step.token for step in answer])
                            for prompt, answer in zip(self.prompts, along)]

    def row(self, profile: str, number_format: str, plain: tuple, found: tuple) -> dict:
        row = {"format": number_format, "profile": profile, **difference(plain[0], found[0])}
        if (profile, number_format) in EXACT:
            return {**row, "exact": True, "holds": same(row)}
        of_plain, of_found = agreement(self.reference, plain[1]), agreement(self.reference, found[1])
        row |= {"exact": False, "plain_as_f32": of_plain, "encrypted_as_f32": of_found,
                "encrypted_as_plain": agreement(plain[1], found[1]),
                "plain_off_f32": deviation(self.reference, plain[1]),
                "encrypted_off_f32": deviation(self.reference, found[1]),
                "holds": of_found >= FLOORS.get(number_format, of_plain - SLACK)}
        if (profile, number_format) in SAME_WEIGHTS:
            row["weights_kept"] = self.weights_kept(profile, number_format)
            row["holds"] &= row["weights_kept"]
        return row

    def weights_kept(self, profile: str, number_format: str) -> bool:
        plain = same_weights(self.files.plain("f32"), self.files.plain(number_format))
        encrypted = [self.files.encrypted(profile, each) / "model.gguf" for each in ("f32", number_format)]
        return not plain or same_weights(*encrypted)


def same(row: dict) -> bool:
    """All greedy ids equal, and their log-probabilities to TOLERANCE."""
    return row["identical"] == row["of"] and row["chosen_logprob"] < TOLERANCE


def line(row: dict) -> str:
    text = (f"{row['profile']:8} {row['format']:5} {'ok' if row['holds'] else 'FAIL':4} "
            f"{row['identical']}/{row['of']} answers and {row['equal_ids']}/{row['ids']} ids as plain {row['format']}, "
            f"logprobs to {row['chosen_logprob']:.1e} (likeliest {TOP}: {row['top_logprobs']:.1e}), "
            f"smallest lead {row['smallest_lead']:.3f}")
    if row["exact"]:
        return text
    kept = {True: "; weights kept bit for bit", False: "; WEIGHTS CHANGED"}.get(row.get("weights_kept"), "")
    return (f"{text}; next token as plain f32: encrypted {row['encrypted_as_f32']:.1%}, plain "
            f"{row['plain_as_f32']:.1%}; its logprob off by {row['encrypted_off_f32']:.4f}, plain "
            f"{row['plain_off_f32']:.4f} (mean){kept}")


STARTED = time.monotonic()

if __name__ == "__main__":
    sys.exit(main())
