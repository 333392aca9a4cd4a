"""A small WordPiece tokenizer, and what transformers makes of texts and pairs with it at several lengths.

Usage: python tools/golden/wordpiece_pairs.py tests/golden/wordpiece   (needs: pip install transformers==5.23.0)

tokenizer.json asks for truncation and padding of its own, as that of all-MiniLM-L6-v2 does: who calls the tokenizer decides.
"""

import json
import sys
from pathlib import Path

import transformers
from golden_json import write

WORDS = "the a cat dog sat on mat and ran far away red Red bright river bank un ##able ##ing ##s ##ly where what is ?".split()
LETTERS = "abcdefghijklmnopqrstuvwxyz"
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
VOCABULARY = [*SPECIAL, *WORDS, *".,!", *(x for x in LETTERS if x != "a"), *(f"##{x}" for x in LETTERS if x != "s")]

TEXTS = [
    "",
    "the cat",
    "The RED dogs ran!",
    "Réd mat, unbearable rivers?",
    "the [MASK] sat on the mat",
    "[SEP] and [CLS] are words too",
    "\u4f60 unknown \U0001f600 letters",
    "the dog ran far away and the cat sat on the mat and sat and sat.",
    "   \t\n ",
]
PAIRS = [
    ("what is a cat?", "the cat sat on the mat"),
    ("a", "the dog ran far away and the cat sat on the mat and sat and sat."),
    ("the dog ran far away and the cat sat on the mat and sat and sat.", "a"),
    ("where is the red river bank and the mat", "the dog ran far away and the cat sat on the mat"),
    ("", "the cat"),
    ("the cat", ""),
    ("", ""),
]
LENGTHS = [4, 5, 7, 8, 12, 512]


def tokenizer_json() -> dict:
    def special(id: int) -> dict:
        return {
            "id": id,
            "content": SPECIAL[id],
            "single_word": False,
            "lstrip": False,
            "rstrip": False,
            "normalized": False,
            "special": True,
        }

    def piece(id: str, type_id: int) -> dict:
        kind = "SpecialToken" if id.startswith("[") else "Sequence"
        return {kind: {"id": id, "type_id": type_id}}

    single = [piece("[CLS]", 0), piece("A", 0), piece("[SEP]", 0)]
    return {
        "version": "1.0",
        "truncation": {"direction": "Right", "max_length": 6, "strategy": "LongestFirst", "stride": 0},
        "padding": {
            "strategy": {"Fixed": 6},
            "direction": "Right",
            "pad_to_multiple_of": None,
            "pad_id": 0,
            "pad_type_id": 0,
            "pad_token": "[PAD]",
        },
        "added_tokens": [special(id) for id in range(len(SPECIAL))],
        "normalizer": {
            "type": "BertNormalizer",
            "clean_text": True,
            "handle_chinese_chars": True,
            "strip_accents": None,
            "lowercase": True,
        },
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": single,
            "pair": [*single, piece("B", 1), piece("[SEP]", 1)],
            "special_tokens": {
                name: {"id": name, "ids": [SPECIAL.index(name)], "tokens": [name]} for name in ("[CLS]", "[SEP]")
            },
        },
        "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": True},
        "model": {
            "type": "WordPiece",
            "unk_token": "[UNK]",
            "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100,
            "vocab": {piece: id for id, piece in enumerate(VOCABULARY)},
        },
    }


def settings(**changed: object) -> dict:
    names = {f"{name.strip('[]').lower()}_token": name for name in SPECIAL}
    return {"tokenizer_class": "BertTokenizer", "do_lower_case": True, "model_max_length": 512, **names, **changed}


def main() -> None:
    folder = Path(sys.argv[1])
    folder.mkdir(exist_ok=True)
    write(folder / "tokenizer.json", tokenizer_json())
    variants = []
    for changed in ({}, {"do_lower_case": False}, {"strip_accents": False}, {"truncation_side": "left"}):
        (folder / "tokenizer_config.json").write_text(json.dumps(settings(**changed), indent=1) + "\n")
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
        cases = []
        for first, second in [*((text, None) for text in TEXTS), *PAIRS]:
            for length in LENGTHS:
                # As a batch, as sentence-transformers calls it: alone, an empty second text would count as none.
                texts = ([first],) if second is None else ([first], [second])
                out = tokenizer(*texts, truncation="longest_first", max_length=length)
                cases.append(
                    {
                        "first": first,
                        "second": second,
                        "length": length,
                        "ids": out["input_ids"][0],
                        "types": out["token_type_ids"][0],
                    }
                )
        variants.append({"tokenizer_config": settings(**changed), "cases": cases})
    (folder / "tokenizer_config.json").unlink()
    golden = {
        "made_by": "tools/golden/wordpiece_pairs.py",
        "transformers": transformers.__version__,
        "variants": variants,
    }
    write(folder / "cases.json", golden)


if __name__ == "__main__":
    main()
