"""What encryption costs where an encrypted model runs: the same engine on the encrypted and on the plain model, in pairs.

    tools/setup_venv.sh VENV
    VENV/bin/python tools/compare/overhead.py --equicrypt BINARY --model SMOLLM2 --llama-build DIR [--rounds 15]
        [--engine equicrypt llama.cpp transformers] [--variant permute rotate untied gateway] [--requests 1 4 16]
        [--dtype f32|bf16|q8_0] [--scratch DIR] [--threads 2]

A round asks the plain model and the encrypted one the same questions, one directly after the other, and every second round
the other way round: as many requests at once as --requests says (transformers: as one batch), each of 32 ids of its own and
64 ids to answer. Its ratio is encrypted over plain, of the ids a second that all requests together got, and of the mean
time to their first. Above 1 is better for the first, worse for the second. The goal is a median from 0.98 to 1.02.

`permute` and `rotate` are profiles of `equicrypt encrypt`. `rotate` unties a tied head; `untied` is the plain model
with its head untied by a copy, and tells what that alone costs. `gateway` (equicrypt only) is the encrypted model asked
through `equicrypt gateway`, tokenizer and sealing included, over the same host asked directly. For llama.cpp the plain
model is made a GGUF file by `equicrypt export`, the encrypted one by `equicrypt encrypt --format gguf`; --dtype is how
the file's weights are stored, what transformers computes in, and the `serve --dtype` of a build that has it.

Before anything is timed the pair must compute the same: under `permute` and `untied` at f32 the same answers, otherwise (both
round differently) the same next id at 90 of 100 places. A table goes to standard error, JSON to standard output. All of it
takes long; --engine, --variant and --requests leave something out, and --scratch keeps the files made for one model.
"""

import argparse
import contextlib
import json
import random
import statistics
import sys
import tempfile
import time
from pathlib import Path

from decoder_engines import DTYPES, Answer, Equicrypt, Gateway, LlamaCpp, Text, Transformers
from decoder_models import VARIANTS, Ids, Models, weights_bytes
from rounds import machine, show, spread, use_threads

sys.path.append(str(Path(__file__).resolve().parents[1] / "interop"))
import llama_build  # noqa: E402
from llama_answers import prompt_ids  # noqa: E402
from owner import Owner  # noqa: E402

ENGINES = ["equicrypt", "llama.cpp", "transformers"]
GATEWAY = "gateway"
PROMPT, NEW = 32, 64
CHECKED_PROMPTS, CHECKED_IDS = 3, 48
SAME = 0.9
PAUSE = 0.2


class Side:
    """A running engine with the ids that its model was made for."""

    def __init__(self, engine: object, ids: Ids, size: int) -> None:
        self.engine, self.ids, self.bytes = engine, ids, size

    def ask(self, prompts: list[list[int]], count: int) -> list[Answer]:
        return self.engine.ask([self.ids.encrypt(prompt) for prompt in prompts], count)

    def answer(self, prompt: list[int]) -> list[int]:
        return self.ids.decrypt(self.ask([prompt], CHECKED_IDS)[0].ids)

    def follow(self, prompt: list[int], answer: list[int]) -> list[int]:
        return self.ids.decrypt(self.engine.follow(self.ids.encrypt(prompt), self.ids.encrypt(answer)))


def main() -> int:
    options = parse()
    use_threads(options.threads)
    rows = []
    with contextlib.ExitStack() as stack:
        scratch = options.scratch or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        models = Models(Owner(options.equicrypt, scratch / "owner.key"), options.model, scratch)
        prompts = prompt_ids(options.model, CHECKED_PROMPTS)
        for name, variant in ((name, variant) for name in options.engine for variant in options.variant):
            if variant == GATEWAY and name != "equicrypt":
                continue
            with contextlib.ExitStack() as running:
                base, other, same = pair(options, models, name, variant, scratch, prompts, running)
                for requests in options.requests:
                    rows.append({"engine": name, "variant": variant, "dtype": options.dtype, "requests": requests,
                                 "weights": other.bytes / base.bytes, "same": same} | paired(options, base, other, requests))
                    show(described(rows[-1]))
    print(json.dumps({"machine": machine(options.threads), "prompt": PROMPT, "new": NEW, "rows": rows}))
    return 0


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--equicrypt", type=Path, required=True, help="the equicrypt binary, a release build")
    parser.add_argument("--model", type=Path, required=True, help="a plain decoder's Hugging Face folder")
    parser.add_argument("--llama-build", type=Path, help="a folder for llama.cpp's build, used again if it is there")
    parser.add_argument("--engine", nargs="+", choices=ENGINES, default=ENGINES)
    parser.add_argument("--variant", nargs="+", choices=[*VARIANTS[1:], GATEWAY],
                        default=["permute", "rotate", "untied", GATEWAY])
    parser.add_argument("--requests", nargs="+", type=int, default=[1, 4, 16])
    parser.add_argument("--dtype", choices=DTYPES, default="f32")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--scratch", type=Path, help="keep what is made of the model here, for the next time")
    options = parser.parse_args()
    if options.llama_build is None and "llama.cpp" in options.engine:
        parser.error("llama.cpp needs --llama-build DIR; or leave it out with --engine equicrypt transformers")
    if options.dtype == "q8_0" and "transformers" in options.engine:
        parser.error("transformers has no q8_0; leave it out with --engine equicrypt llama.cpp")
    options.vocab_size = json.loads((options.model / "config.json").read_text())["vocab_size"]
    options.random = random.Random(time.time_ns())
    return options


def pair(options: argparse.Namespace, models: Models, name: str, variant: str, scratch: Path, prompts: list[list[int]],
         running: contextlib.ExitStack) -> tuple[Side, Side, float]:
    """What is compared, and the share of its answers that is the same."""
    if variant == GATEWAY:
        base = side(options, models, name, "permute", scratch, running)
        other = behind(options, models, base, running)
        return base, other, check_texts(options, base, other, prompts)
    base, other = (side(options, models, name, which, scratch, running) for which in ("plain", variant))
    exact = variant != "rotate" and options.dtype == "f32"
    return base, other, check(f"{name}, {variant}", base, other, prompts, exact)


def side(options: argparse.Namespace, models: Models, name: str, variant: str, scratch: Path,
         running: contextlib.ExitStack) -> Side:
    places = max(options.requests)
    if name == "llama.cpp":
        file = models.gguf(variant, options.dtype)
        engine = LlamaCpp(llama_build.llama_server(options.llama_build), file, scratch / f"llama-{variant}.log",
                          options.threads, places=places, context=256)
        vocabulary = models.vocabulary(file.parent)
    else:
        file = models.folder(variant)
        engine = (Equicrypt(options.equicrypt, file, options.dtype, places) if name == "equicrypt"
                  else Transformers(file, options.dtype, options.threads))
        vocabulary = models.vocabulary(file)
    return Side(running.enter_context(engine), vocabulary, weights_bytes(file))


def behind(options: argparse.Namespace, models: Models, base: Side, running: contextlib.ExitStack) -> Side:
    """The gateway before `base`: it encrypts by itself."""
    gateway = Gateway(options.equicrypt, base.engine, options.model, models.owner.key, ends(options.model))
    return Side(running.enter_context(gateway), Ids(None), base.bytes)


def ends(model: Path) -> list[int]:
    """The ids that end an answer."""
    stated = [json.loads(file.read_text()).get("eos_token_id") for name in ("config.json", "generation_config.json")
              if (file := model / name).is_file()]
    return sorted({i for entry in stated if entry is not None for i in (entry if isinstance(entry, list) else [entry])})


def check_texts(options: argparse.Namespace, base: Side, gateway: Side, prompts: list[list[int]]) -> float:
    """The gateway has to say the text of the ids that the host gives directly, as far as neither ends."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(options.model)
    found = []
    for prompt in prompts:
        ids = base.answer(prompt)
        if not set(ids) & set(ends(options.model)):
            found.append("".join(gateway.ask([prompt], len(ids))[0].pieces) == tokenizer.decode(ids))
    if not found or not all(found):
        raise SystemExit(f"the gateway gave {sum(found)} of {len(found)} texts of its host; it is not measured")
    return 1.0


def check(name: str, base: Side, other: Side, prompts: list[list[int]], exact: bool) -> float:
    """The share of ids that are the same; the pair is not measured if they are too few."""
    pairs = []
    for prompt in prompts:
        expected = base.answer(prompt)
        found = other.answer(prompt) if exact else other.follow(prompt, expected)
        pairs += zip(expected, found, strict=True)
    share = sum(one == other for one, other in pairs) / len(pairs)
    if share < (1 if exact else SAME):
        raise SystemExit(f"{name}: {share:.1%} of the plain model's ids; the pair does not compute the same, and is not "
                         "measured")
    return share


def paired(options: argparse.Namespace, base: Side, other: Side, requests: int) -> dict:
    rates: list[tuple[float, float]] = []
    firsts: list[tuple[float, float]] = []
    for number in range(-1, options.rounds):
        prompts = [[options.random.randrange(options.vocab_size) for _ in range(PROMPT)] for _ in range(requests)]
        found = {}
        for one in (base, other) if number % 2 else (other, base):
            time.sleep(PAUSE)
            found[one] = speed(one.ask(prompts, NEW))
        # The first round warms up.
        if number >= 0:
            rates.append((found[base][0], found[other][0]))
            firsts.append((found[base][1], found[other][1]))
    return {"base": {"rate": spread([pair[0] for pair in rates]), "first": spread([pair[0] for pair in firsts])},
            "other": {"rate": spread([pair[1] for pair in rates]), "first": spread([pair[1] for pair in firsts])},
            "rate_ratio": spread([other / base for base, other in rates]),
            "first_ratio": spread([other / base for base, other in firsts])}


def speed(answers: list[Answer] | list[Text]) -> tuple[float, float]:
    """Ids a second of all answers together, and the mean time to their beginnings."""
    seconds = max(answer.came[-1] for answer in answers) - min(answer.sent for answer in answers)
    return NEW * len(answers) / seconds, statistics.mean(answer.first for answer in answers)


def described(row: dict) -> str:
    base, found = row["base"], row["other"]
    return (f"{row['engine']:12} {row['variant']:7} {row['dtype']:4} {row['requests']:2} at once: "
            f"{base['rate']['median']:6.1f} -> {found['rate']['median']:6.1f} ids/s, ratio {interval(row['rate_ratio'])}; "
            f"first id {1000 * base['first']['median']:6.1f} -> {1000 * found['first']['median']:6.1f} ms, "
            f"ratio {interval(row['first_ratio'])}; {row['weights']:.2f} times the bytes, {row['same']:.1%} the same")


def interval(ratio: dict) -> str:
    return (f"{ratio['median']:.3f} [{ratio['low']:.3f}, {ratio['high']:.3f}] "
            f"({ratio['min']:.3f} to {ratio['max']:.3f})")


if __name__ == "__main__":
    sys.exit(main())
