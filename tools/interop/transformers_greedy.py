"""Greedy answers of an encrypted checkpoint in stock Hugging Face transformers, against the plain checkpoint's.

    tools/setup_venv.sh VENV
    VENV/bin/python tools/interop/transformers_greedy.py --plain DIR --encrypted ENC --key KEY --equicrypt BINARY
        [--dtype f32|bf16] [--prompts N] [--max-new-tokens M] [--threads T]

Both folders are loaded by `AutoModelForCausalLM.from_pretrained` with nothing patched. For each prompt the plain model
answers the plain ids; the ids go through `BINARY tokens encrypt`, the encrypted model answers, its ids come back through
`BINARY tokens decrypt`. A table goes to standard error, JSON to standard output. Exit status 0 only if every answer
has the same ids, 1 if one differs or anything fails: an encryption that leaves a prompt as it was, a decryption that
does not return it, a checkpoint that names its end token.
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

import torch
import transformers
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

from prompts import PROMPTS


def main() -> int:
    options = parse()
    torch.set_num_threads(options.threads)
    dtype = {"f32": torch.float32, "bf16": torch.bfloat16}[options.dtype]
    tokenizer = AutoTokenizer.from_pretrained(options.plain)
    plain = AutoModelForCausalLM.from_pretrained(options.plain, dtype=dtype).eval()
    encrypted = AutoModelForCausalLM.from_pretrained(options.encrypted, dtype=dtype).eval()
    vocabulary = Vocabulary(options, encrypted.config.vocab_size)
    stops = stop_ids(plain)
    check_names_no_token(encrypted)
    cipher_stops = [cipher for stop in stops for cipher in vocabulary.classes(stop)]
    rows = []
    for prompt in PROMPTS[:options.prompts]:
        ids = tokenizer.apply_chat_template([{"role": "user", "content": prompt}], add_generation_prompt=True,
                                            return_dict=True)["input_ids"]
        cipher_ids = vocabulary.encrypt(ids)
        expected, margin = answer(plain, ids, stops, options.max_new_tokens)
        cipher_answer, _ = answer(encrypted, cipher_ids, cipher_stops, options.max_new_tokens)
        rows.append(row(len(rows), ids, expected, vocabulary.decrypt(cipher_answer), margin))
    report(options, rows)
    return 0 if all(entry["identical"] for entry in rows) else 1


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--plain", type=Path, required=True, help="the original checkpoint's folder")
    parser.add_argument("--encrypted", type=Path, required=True, help="the encrypted checkpoint's folder")
    parser.add_argument("--key", type=Path, required=True, help="the key file")
    parser.add_argument("--equicrypt", type=Path, required=True, help="the equicrypt binary")
    parser.add_argument("--dtype", choices=["f32", "bf16"], default="f32", help="precision of the engine")
    parser.add_argument("--prompts", type=int, default=5, help=f"how many of the {len(PROMPTS)} built-in prompts")
    parser.add_argument("--max-new-tokens", type=int, default=48)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    if not 1 <= options.prompts <= len(PROMPTS) or options.max_new_tokens < 1:
        parser.error(f"--prompts must be 1 to {len(PROMPTS)}, --max-new-tokens at least 1")
    return options


class Vocabulary:
    """The secret vocabulary, reached only through the binary: this process never reads the key."""

    def __init__(self, options: argparse.Namespace, size: int) -> None:
        self.options = options
        self.plain_of = self.decrypt(list(range(size)))

    def classes(self, plain_id: int) -> list[int]:
        """Every cipher id that stands for `plain_id`."""
        cipher_ids = [cipher for cipher, plain in enumerate(self.plain_of) if plain == plain_id]
        if not cipher_ids:
            raise SystemExit(f"no cipher id decrypts to the end token {plain_id}")
        return cipher_ids

    def encrypt(self, ids: list[int]) -> list[int]:
        cipher_ids = self.run("encrypt", ids)
        if cipher_ids == ids:
            raise SystemExit("tokens encrypt returned the plain ids; nothing is sent to the model")
        if self.decrypt(cipher_ids) != ids:
            raise SystemExit("tokens decrypt does not return the ids that tokens encrypt was given")
        return cipher_ids

    def decrypt(self, cipher_ids: list[int]) -> list[int]:
        return self.run("decrypt", cipher_ids)

    def run(self, verb: str, ids: list[int]) -> list[int]:
        command = [self.options.equicrypt.resolve(), "tokens", verb, "--key", self.options.key,
                   "--manifest", self.options.encrypted / "equicrypt.json"]
        done = subprocess.run(command, input=json.dumps(ids), capture_output=True, text=True)
        if done.returncode != 0:
            raise SystemExit(f"tokens {verb} left with status {done.returncode}: {done.stderr.strip()}")
        answer = json.loads(done.stdout)
        if not isinstance(answer, list) or len(answer) != len(ids) or not all(type(item) is int for item in answer):
            raise SystemExit(f"tokens {verb}: expected a JSON array of {len(ids)} ids on standard output")
        return answer


def stop_ids(plain: torch.nn.Module) -> list[int]:
    stops = plain.generation_config.eos_token_id
    if stops is None:
        stops = plain.config.eos_token_id
    if stops is None:
        raise SystemExit("the plain checkpoint names no end token in generation_config.json or config.json")
    return stops if isinstance(stops, list) else [stops]


def check_names_no_token(encrypted: torch.nn.Module) -> None:
    for source in (encrypted.config, encrypted.generation_config):
        for field in ("bos_token_id", "eos_token_id", "pad_token_id"):
            value = getattr(source, field, None)
            if value is not None:
                raise SystemExit(f"the encrypted checkpoint states {field} = {value}; expected null")


@torch.no_grad()
def answer(model: torch.nn.Module, ids: list[int], stops: list[int], limit: int) -> tuple[list[int], float]:
    """The greedy answer, and the smallest lead of the first over the second logit along it."""
    wanted = GenerationConfig(do_sample=False, num_beams=1, repetition_penalty=1.0, max_new_tokens=limit,
                              eos_token_id=stops, pad_token_id=stops[0], return_dict_in_generate=True,
                              output_logits=True)
    prompt = torch.tensor([ids])
    output = model.generate(prompt, attention_mask=torch.ones_like(prompt), generation_config=wanted)
    leads = [logits[0].float().topk(2).values for logits in output.logits]
    return output.sequences[0, len(ids):].tolist(), min(float(lead[0] - lead[1]) for lead in leads)


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
    print(f"{identical} of {len(rows)} answers identical ({options.dtype})", file=sys.stderr)
    print(json.dumps({"transformers": transformers.__version__, "torch": torch.__version__, "dtype": options.dtype,
                      "max_new_tokens": options.max_new_tokens, "identical": identical, "of": len(rows),
                      "seconds": round(time.monotonic() - STARTED, 1), "answers": rows}))


STARTED = time.monotonic()

if __name__ == "__main__":
    sys.exit(main())
