"""Greedy answers of one folder by stock vLLM's own Python interface. Runs inside the engine's environment.

    VENV/bin/python vllm_offline.py FOLDER DTYPE TOKENS <PROMPTS      prompts: a JSON array of arrays of ids

Prints one JSON array: for each prompt its ids and their logprobs.
"""

import json
import sys

from vllm import LLM, SamplingParams


def main(folder: str, dtype: str, limit: int) -> None:
    prompts = json.load(sys.stdin)
    engine = LLM(folder, dtype=dtype, skip_tokenizer_init=True, enforce_eager=True, max_model_len=64,
                 max_num_seqs=8, max_num_batched_tokens=512, disable_log_stats=True, enable_prefix_caching=False)
    wanted = SamplingParams(temperature=0.0, max_tokens=limit, logprobs=1, ignore_eos=True, detokenize=False)
    outputs = engine.generate([{"prompt_token_ids": ids} for ids in prompts], wanted, use_tqdm=False)
    answers = []
    for output in outputs:
        ids = list(output.outputs[0].token_ids)
        chosen = [step[token].logprob for step, token in zip(output.outputs[0].logprobs, ids)]
        answers.append([ids, chosen])
    print("\n" + json.dumps(answers))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
