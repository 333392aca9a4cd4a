"""Greedy answers of several folders by stock vLLM's own Python interface. Runs inside the engine's environment.

    VENV/bin/python vllm_offline.py DTYPE TOKENS <JOBS      jobs: a JSON array of [folder, [ids of a prompt, ...]]

For each folder, in order, prints a line "ANSWERS " and a JSON array: for each prompt its ids and their logprobs. Ends at
the first folder that the engine does not run.
"""

import json
import sys

from vllm import LLM, SamplingParams


def main(dtype: str, limit: int) -> None:
    for folder, prompts in json.load(sys.stdin):
        print("\nANSWERS " + json.dumps(answers(folder, prompts, dtype, limit)), flush=True)


def answers(folder: str, prompts: list[list[int]], dtype: str, limit: int) -> list:
    engine = LLM(folder, dtype=dtype, skip_tokenizer_init=True, enforce_eager=True, max_model_len=64,
                 max_num_seqs=8, max_num_batched_tokens=512, disable_log_stats=True, enable_prefix_caching=False)
    wanted = SamplingParams(temperature=0.0, max_tokens=limit, logprobs=1, ignore_eos=True, detokenize=False)
    outputs = engine.generate([{"prompt_token_ids": ids} for ids in prompts], wanted, use_tqdm=False)
    found = []
    for output in outputs:
        ids = list(output.outputs[0].token_ids)
        chosen = [step[token].logprob for step, token in zip(output.outputs[0].logprobs, ids)]
        found.append([ids, chosen])
    return found


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
