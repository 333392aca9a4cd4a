"""Golden token ids and chat renderings of the SmolLM2 tokenizer.

    tools/setup_venv.sh VENV
    VENV/bin/python tools/golden/smollm2_tokens.py SmolLM2-135M-Instruct.Q4_1.gguf tests/golden

The ids come from llama.cpp on the GGUF file. A second computation, Hugging Face `tokenizers` assembled here from the
GGUF's tokens and merges, must give the same ids, both must decode to the text again, and the ids that others have
published must be reproduced; otherwise nothing is written. Nothing is added in front of a text, and the spelling of a
special token inside one becomes its single id.

The chat renderings are the GGUF's own template, run by jinja2 through transformers' `apply_chat_template`.
"""

import sys
from pathlib import Path

import jinja2
import tokenizers
import transformers
from gguf import GGUFReader
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

import golden_json
from llama_cpp_tokenizer import LlamaCppTokenizer
from smollm2_texts import CONVERSATIONS, PUBLISHED, TEXTS

CONTROL = 3


def main(gguf: Path, out: Path) -> None:
    fields = GGUFReader(gguf).fields
    llama_cpp, assembled = LlamaCppTokenizer(gguf), assemble(fields)
    cases = [{"text": text, "ids": agreed(text, llama_cpp, assembled)} for text in TEXTS]
    for case in PUBLISHED:
        ids = agreed(case["text"], llama_cpp, assembled)
        if ids != case["ids"]:
            sys.exit(f"{case['text']!r}: published as {case['ids']} by {case['source']}, computed as {ids}")
        cases.append(case)
    golden_json.write(out / "smollm2_tokens.json", {
        "about": "token ids of the SmolLM2 tokenizer; made by tools/golden/smollm2_tokens.py",
        "file": gguf.name,
        "computed_by": llama_cpp.version,
        "confirmed_by": f"tokenizers {tokenizers.__version__} assembled from the file's tokens and merges",
        "special_tokens": "parsed; nothing is added",
        "cases": cases,
    })
    wrapped = PreTrainedTokenizerFast(tokenizer_object=assembled)
    template = fields["tokenizer.chat_template"].contents()
    golden_json.write(out / "smollm2_chat.json", {
        "about": "SmolLM2's chat template with add_generation_prompt; made by tools/golden/smollm2_tokens.py",
        "file": gguf.name,
        "rendered_by": f"transformers {transformers.__version__}, jinja2 {jinja2.__version__}",
        "template": template,
        "cases": [rendered(messages, template, wrapped, llama_cpp, assembled) for messages in CONVERSATIONS],
    })
    print(f"{len(cases)} texts, {len(CONVERSATIONS)} conversations")


def agreed(text: str, llama_cpp: LlamaCppTokenizer, assembled: Tokenizer) -> list[int]:
    ids = llama_cpp.encode(text)
    others = assembled.encode(text, add_special_tokens=False).ids
    if ids != others:
        sys.exit(f"{text!r}: llama.cpp says {ids}, tokenizers {others}")
    for decoded in (llama_cpp.decode(ids).decode(), assembled.decode(ids, skip_special_tokens=False)):
        if decoded != text:
            sys.exit(f"{text!r}: {ids} decode to {decoded!r}")
    return ids


def assemble(fields: dict) -> Tokenizer:
    """The tokenizer that the SmolLM2 authors describe: each digit alone, then GPT-2's byte-level BPE."""
    tokens = fields["tokenizer.ggml.tokens"].contents()
    kinds = fields["tokenizer.ggml.token_type"].contents()
    merges = [tuple(merge.split(" ")) for merge in fields["tokenizer.ggml.merges"].contents()]
    tokenizer = Tokenizer(models.BPE({token: index for index, token in enumerate(tokens)}, merges))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Digits(individual_digits=True),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
    ])
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([
        AddedToken(token, normalized=False, special=True) for token, kind in zip(tokens, kinds) if kind == CONTROL
    ])
    return tokenizer


def rendered(messages: list[dict], template: str, wrapped: PreTrainedTokenizerFast, llama_cpp: LlamaCppTokenizer,
             assembled: Tokenizer) -> dict:
    text = wrapped.apply_chat_template(messages, chat_template=template, tokenize=False, add_generation_prompt=True)
    return {"messages": messages, "text": text, "ids": agreed(text, llama_cpp, assembled)}


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: smollm2_tokens.py MODEL.gguf OUT_DIR")
    main(Path(sys.argv[1]), Path(sys.argv[2]))
