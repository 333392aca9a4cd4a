"""Golden logits of SmolLM2-135M-Instruct, computed by Hugging Face transformers in f32.

    tools/setup_venv.sh VENV
    VENV/bin/python tools/golden/smollm2_logits.py MODEL_DIR tests/golden/smollm2_logits.json

MODEL_DIR is the bf16 Hugging Face folder. Its weights are widened to f32, attention is the eager (textbook) one, on two
threads. For each prompt: 32 greedy ids (the end token does not stop them), and at four positions 64 logits spread over
the vocabulary, the log-sum-exp of all logits and the argmax. `margin` is the smallest lead of the first over the second
logit along the greedy ids: an implementation whose logits are off by less than half of it must print the same ids.
`f32_error` is the largest difference of any logit of a prompt from the same computation in float64.
"""

import hashlib
import json
import sys
from pathlib import Path

import torch
import transformers
from safetensors import safe_open
from transformers import AutoModelForCausalLM

import float64
import golden_json

EMBEDDING = "model.embed_tokens.weight"
NEW_TOKENS = 32
LOGIT_IDS = [step * 768 + step * 331 % 768 for step in range(64)]


def main(model_dir: Path, out: Path) -> None:
    torch.set_num_threads(2)
    exact = logits_in_float64(model_dir)
    model = load(model_dir, torch.float32)
    golden_json.write(out, {
        "about": "SmolLM2-135M-Instruct, bf16 weights widened to f32; made by tools/golden/smollm2_logits.py",
        "transformers": transformers.__version__,
        "torch": torch.__version__,
        "attention": model.config._attn_implementation,
        "embedding_sha256": embedding_sha256(model_dir),
        "logit_ids": LOGIT_IDS,
        "prompts": [measure(model, name, ids, exact[name]) for name, ids in PROMPTS.items()],
    })


def load(model_dir: Path, dtype: torch.dtype) -> torch.nn.Module:
    return AutoModelForCausalLM.from_pretrained(model_dir, dtype=dtype, attn_implementation="eager").eval()


@torch.no_grad()
def logits_in_float64(model_dir: Path) -> dict[str, torch.Tensor]:
    with float64.everywhere():
        model = load(model_dir, torch.float64)
        return {name: model(torch.tensor([ids]), use_cache=False).logits[0] for name, ids in PROMPTS.items()}


@torch.no_grad()
def measure(model: torch.nn.Module, name: str, prompt: list[int], exact: torch.Tensor) -> dict:
    logits = model(torch.tensor([prompt]), use_cache=False).logits[0]
    greedy, margin = continue_greedily(model, prompt)
    positions = [3, len(prompt) // 3, 2 * len(prompt) // 3, len(prompt) - 1]
    return {
        "name": name,
        "ids": prompt,
        "greedy": greedy,
        "margin": round(margin, 6),
        "f32_error": float(f"{float((logits - exact).abs().max()):.1e}"),
        "positions": [{
            "position": position,
            "argmax": int(logits[position].argmax()),
            "logsumexp": round(float(logits[position].double().logsumexp(0)), 6),
            "logits": [round(float(logits[position, index]), 6) for index in LOGIT_IDS],
        } for position in positions],
    }


def continue_greedily(model: torch.nn.Module, prompt: list[int]) -> tuple[list[int], float]:
    ids, margin, step, cache = [], float("inf"), torch.tensor([prompt]), None
    for _ in range(NEW_TOKENS):
        output = model(step, past_key_values=cache, use_cache=True)
        cache = output.past_key_values
        best = output.logits[0, -1].topk(2)
        margin = min(margin, float(best.values[0] - best.values[1]))
        ids.append(int(best.indices[0]))
        step = best.indices[:1].unsqueeze(0)
    return ids, margin


def embedding_sha256(model_dir: Path) -> str:
    """SHA-256 of the embedding's stored bytes (bf16, little-endian, row-major), wherever the folder keeps them."""
    index = model_dir / "model.safetensors.index.json"
    name = json.loads(index.read_text())["weight_map"][EMBEDDING] if index.exists() else "model.safetensors"
    with safe_open(model_dir / name, framework="pt") as tensors:
        embedding = tensors.get_tensor(EMBEDDING)
    if embedding.dtype != torch.bfloat16:
        sys.exit(f"{model_dir / name}: {EMBEDDING} is {embedding.dtype}, expected bf16; convert the folder again")
    return hashlib.sha256(embedding.contiguous().view(torch.uint8).numpy().tobytes()).hexdigest()


# Chat-template shape, as ids so that nothing here depends on a tokenizer.
SYSTEM = [1, 9690, 198, 2683, 359, 253, 5356, 5646, 11173, 3365, 3511, 308, 34519, 28, 7018, 411, 407, 19712, 8182, 2,
          198]
ANSWER = [2, 198, 1, 520, 9531, 198]
PROMPTS = {
    "capital of France": SYSTEM + [1, 4093, 198, 1780, 314, 260, 3575, 282, 4649, 47] + ANSWER,
    "own system prompt, quotes and an emoji": [
        1, 9690, 198, 21350, 281, 582, 1890, 6330, 30, 2, 198, 1, 4093, 198, 14413, 3925, 314, 260, 3995, 1841, 3247,
        982, 357, 476, 58, 13939, 17455, 15107, 120, 234, *ANSWER],
    "three turns with code and digits": SYSTEM + [
        1, 4093, 198, 19161, 253, 5905, 1517, 338, 7845, 216, 33, 39, 288, 897, 908, 1230, 282, 253, 1398, 30, *ANSWER,
        1604, 803, 33, 39, 24, 6347, 727, 472, 1003, 933, 102, 1232, 216, 33, 39, 585, 386, 2471, 216, 34, 1758, 216,
        32, 1745, 386, 327, 386, 281, 2396, 77, 2, 198, 1, 4093, 198, 2696, 3556, 357, 1833, 411, 1833, 28, 284, 1643,
        732, 357, 6765, 327, 933, 33, 28, 216, 34, 28, 216, 35, 28, 216, 36, 28, 216, 37, 32, 32, 2880, *ANSWER],
    "Japanese and digits": SYSTEM + [
        1, 4093, 198, 36824, 45998, 7365, 124, 8083, 249, 216, 33, 34, 35, 36, 37, *ANSWER],
}

if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: smollm2_logits.py MODEL_DIR OUT.json")
    main(Path(sys.argv[1]), Path(sys.argv[2]))
