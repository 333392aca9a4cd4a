"""Greedy answers of an encrypted checkpoint in stock Hugging Face transformers, against the plain checkpoint's.

    tools/setup_venv.sh VENV
    VENV/bin/python tools/interop/transformers_greedy.py --plain DIR --encrypted ENC --key KEY --equicrypt BINARY
        [--dtype f32|bf16] [--prompts N] [--max-new-tokens M] [--logprob-tolerance L] [--threads T]

Both folders are loaded by `AutoModelForCausalLM.from_pretrained` with nothing patched. For each prompt the plain model
answers the plain ids; the ids go through `BINARY tokens encrypt`, the encrypted model answers, its ids come back through
`BINARY tokens decrypt`. A table goes to standard error, JSON to standard output. Exit status 0 only if every answer
has the same ids and, along them, the same logprobs to the tolerance, 1 if one differs or anything fails: an encryption
that leaves a prompt as it was, a decryption that does not return it, a checkpoint that names its end token.
"""

import argparse
import itertools
import json
import sys
import time
from pathlib import Path

import torch
import transformers
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

from owner import Owner, check_names_no_token
from prompts import PROMPTS


def main() -> int:
    options = parse()
    torch.set_num_threads(options.threads)
    dtype = {"f32": torch.float32, "bf16": torch.bfloat16}[options.dtype]
    tokenizer = AutoTokenizer.from_pretrained(options.plain)
    plain = AutoModelForCausalLM.from_pretrained(options.plain, dtype=dtype).eval()
    encrypted = AutoModelForCausalLM.from_pretrained(options.encrypted, dtype=dtype).eval()
    vocabulary = Owner(options.equicrypt, options.key).vocabulary(options.encrypted)
    stops = stop_ids(plain)
    check_names_no_token(options.encrypted)
    cipher_stops = [cipher for stop in stops for cipher in vocabulary.classes(stop)]
    rows = []
    for prompt in PROMPTS[:options.prompts]:
        ids = tokenizer.apply_chat_template([{"role": "user", "content": prompt}], add_generation_prompt=True,
                                            return_dict=True)["input_ids"]
        cipher_ids = vocabulary.encrypt(ids)
        expected, logprobs, margin = answer(plain, ids, stops, options.max_new_tokens)
        cipher_answer, cipher_logprobs, _ = answer(encrypted, cipher_ids, cipher_stops, options.max_new_tokens)
        found = vocabulary.decrypt(cipher_answer)
        rows.append(row(len(rows), ids, expected, found, margin) | {
            "logprob_difference": logprob_difference(expected, found, logprobs, cipher_logprobs)})
    report(options, rows)
    near = all(entry["logprob_difference"] <= options.logprob_tolerance for entry in rows)
    return 0 if near and all(entry["identical"] for entry in rows) else 1


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--plain", type=Path, required=True, help="the original checkpoint's folder")
    parser.add_argument("--encrypted", type=Path, required=True, help="the encrypted checkpoint's folder")
    parser.add_argument("--key", type=Path, required=True, help="the key file")
    parser.add_argument("--equicrypt", type=Path, required=True, help="the equicrypt binary")
    parser.add_argument("--dtype", choices=["f32", "bf16"], default="f32", help="precision of the engine")
    parser.add_argument("--prompts", type=int, default=5, help=f"how many of the {len(PROMPTS)} built-in prompts")
    parser.add_argument("--max-new-tokens", type=int, default=48)
    parser.add_argument("--logprob-tolerance", type=float, default=0.01,
                        help="largest |difference| of a chosen token's logprob that passes")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    if not 1 <= options.prompts <= len(PROMPTS) or options.max_new_tokens < 1:
        parser.error(f"--prompts must be 1 to {len(PROMPTS)}, --max-new-tokens at least 1")
    return options


def stop_ids(plain: torch.nn.Module) -> list[int]:
    stops = plain.generation_config.eos_token_id
    if stops is None:
        stops = plain.config.eos_token_id
    if stops is None:
        raise SystemExit("the plain checkpoint names no end token in generation_config.json or config.json")
    return stops if isinstance(stops, list) else [stops]


@torch.no_grad()
def answer(model: torch.nn.Module, ids: list[int], stops: list[int], limit: int) -> tuple[list[int], list[float], float]:
    """The greedy answer, its tokens' logprobs, and the smallest lead of the first over the second logit along it."""
    wanted = GenerationConfig(do_sample=False, num_beams=1, repetition_penalty=1.0, max_new_tokens=limit,
                              eos_token_id=stops, pad_token_id=stops[0], return_dict_in_generate=True,
                              output_logits=True)
    prompt = torch.tensor([ids])
    output = model.generate(prompt, attention_mask=torch.ones_like(prompt), generation_config=wanted)
    leads = [logits[0].float().topk(2).values for logits in output.logits]
    tokens = output.sequences[0, len(ids):].tolist()
    logprobs = [float(logits[0].double().log_softmax(-1)[token]) for logits, token in zip(output.logits, tokens)]
    return tokens, logprobs, min(float(lead[0] - lead[1]) for lead in leads)


def logprob_difference(expected: list[int], found: list[int], plain: list[float], encrypted: list[float]) -> float:
    """The largest along the part where both answers are the same: past it they have different prefixes."""
    steps = zip(expected, found, plain, encrypted)
    same = itertools.takewhile(lambda step: step[0] == step[1], steps)
    return round(max((abs(step[2] - step[3]) for step in same), default=0.0), 8)


def row(index: int, prompt: list[int], expected: list[int], found: list[int], margin: float) -> dict:
    same = next((step for step, pair in enumerate(zip(expected, found)) if pair[0] != pair[1]),
                min(len(expected), len(found)))
    return {"prompt": index, "prompt_tokens": len(prompt), "plain_tokens": len(expected),
            "encrypted_tokens": len(found), "equal_prefix": same, "smallest_margin": round(margin, 6),
            "identical": expected == found}


def report(options: argparse.Namespace, rows: list[dict]) -> None:
    columns = list(rows[0])
    print("  ".join(columns), file=sys.stderr)
    for entry in rows:
        print("  ".join(str(entry[column]).rjust(len(column)) for column in columns), file=sys.stderr)
    identical = sum(entry["identical"] for entry in rows)
    difference = max(entry["logprob_difference"] for entry in rows)
    print(f"{identical} of {len(rows)} answers identical ({options.dtype}), "
          f"logprobs within {difference:.1e}", file=sys.stderr)
    print(json.dumps({"transformers": transformers.__version__, "torch": torch.__version__, "dtype": options.dtype,
                      "max_new_tokens": options.max_new_tokens, "identical": identical, "of": len(rows),
                      "logprob_difference": difference, "seconds": round(time.monotonic() - STARTED, 1), "answers": rows}))


STARTED = time.monotonic()

if __name__ == "__main__":
    sys.exit(main())
