"""The folder that `equicrypt tokenizer` writes, in stock Hugging Face transformers, against the original tokenizer.

    tools/setup_venv.sh VENV
    BINARY fetch smollm2-135m-instruct -o SMOLLM2; BINARY fetch minilm-l6-v2 -o MINILM
    VENV/bin/python tools/interop/transformers_tokenizer.py --equicrypt BINARY --smollm2 SMOLLM2 --minilm MINILM

Both folders are loaded by `AutoTokenizer.from_pretrained`, nothing patched. On about 280 texts (prose, code, scripts, emoji,
white space, special tokens) the cipher tokenizer's ids must be what `BINARY tokens encrypt` makes of the original's, and
everything else the same: tokens, types, masks, offsets, pairs, truncation, padded batches, chat templates, decoded texts,
special ids; and the same again after the tokenizer was copied, pickled, and saved and loaded. Then small tokenizers of the
four kinds of model, made here, with tokens outside the model's vocabulary and rows without a token. Last, the encrypted
SmolLM2 answers texts in transformers through the cipher tokenizer alone, and must answer what the plain one answers.

A table goes to standard error, JSON to standard output. Exit status 0 only if every line holds.
"""

import argparse
import copy
import json
import pickle
import stat
import sys
import tempfile
from pathlib import Path

import tokenizers
import torch
import transformers
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import AutoModelForCausalLM, AutoTokenizer

from owner import Owner, Vocabulary
from prompts import PROMPTS

ROOT = Path(__file__).resolve().parents[2]
CHAT = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Why is the sky blue?\n"},
        {"role": "assistant", "content": " Rayleigh scattering. "}, {"role": "user", "content": "😀 <|im_end|>"}]
ODD = ["", " ", "   ", "\n", "\n\n\n", "\t\tx", "a", "\u00a0", "e\u0301 é", "İ ı ß ẞ ﬁ", "ＡＢＣ １２３", "\u200b\u200d\ufeff",
       "👨‍👩‍👧‍👦 🏳️‍🌈 🇵🇹", "\x00\x01\x7f", "\ufffd", "a" * 3000, "0123456789" * 20, "x=1;y=2;// z", "<s></s><unk><pad><mask>",
       "[CLS] [SEP] [PAD] [MASK] [UNK]", "[cls][MASK]x[MASK]", "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n",
       "<|endoftext|><|endoftext|>", "<repo_name>x<file_sep>y", "不 知道 。", "ไทย ภาษา", "हिन्दी", "עברית", "ꙮ 𝔘𝔫𝔦 𓂀"]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--equicrypt", type=Path, required=True, help="the equicrypt binary")
    parser.add_argument("--smollm2", type=Path, required=True, help="the folder that `fetch smollm2-135m-instruct` makes")
    parser.add_argument("--minilm", type=Path, required=True, help="the folder that `fetch minilm-l6-v2` makes")
    options = parser.parse_args()
    torch.set_num_threads(2)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        scratch = Path(scratch)
        owner = Owner(options.equicrypt, scratch / "owner.key")
        owner.keygen()
        for name, model in (("smollm2", options.smollm2), ("minilm", options.minilm)):
            encrypted = scratch / name
            owner.encrypt(model, encrypted)
            rows.append(Comparison(name, owner, model, encrypted, scratch).row())
        for name, make in TINY.items():
            plain, encrypted = scratch / f"{name}-plain", scratch / f"{name}-encrypted"
            write_tiny(make(), plain, encrypted, scratch / "minilm" / "equicrypt.json")
            rows.append(Comparison(name, owner, plain, encrypted, scratch).row())
        rows.append(answers(options.smollm2, scratch / "smollm2", scratch / "smollm2-tokenizer"))
    for row in rows:
        print(f"{row['what']:14} {row['compared']:6} comparisons {'ok' if not row['failures'] else row['failures'][:3]}",
              file=sys.stderr)
    print(json.dumps({"transformers": transformers.__version__, "tokenizers": tokenizers.__version__,
                      "torch": torch.__version__, "rows": rows}))
    return 0 if all(row["compared"] and not row["failures"] for row in rows) else 1


class Comparison:
    """One tokenizer and the cipher tokenizer that the command makes of it."""

    def __init__(self, name: str, owner: Owner, model: Path, encrypted: Path, scratch: Path) -> None:
        self.name = name
        self.compared, self.failures = 0, []
        folder = scratch / f"{name}-tokenizer"
        manifest = encrypted / "equicrypt.json"
        said = owner.run("tokenizer", model, "--key", owner.key, "--manifest", manifest, "-o", folder)
        self.holds("the command", said.returncode == 0 and "SECRET" in said.stderr)
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}
        self.holds("file modes", set(modes.values()) == {0o600} and stat.S_IMODE(folder.stat().st_mode) == 0o700)
        self.holds("the notice", "SECRET-DO-NOT-UPLOAD.txt" in modes)
        self.vocabulary = Vocabulary(owner, encrypted)
        self.plain = AutoTokenizer.from_pretrained(model)
        self.cipher = AutoTokenizer.from_pretrained(folder)
        self.scratch = scratch

    def row(self) -> dict:
        texts = [*PROMPTS, *ODD, *golden("smollm2_tokens"), *golden("minilm_tokens")[:170]]
        cipher = self.cipher
        self.special()
        self.texts(cipher, texts)
        self.pairs(cipher, texts)
        self.batches(cipher, [text for text in texts if text][:40])
        if cipher.chat_template:
            self.chat(cipher)
        saved = self.scratch / f"{self.name}-saved"
        cipher.save_pretrained(saved)
        for other in (copy.deepcopy(cipher), pickle.loads(pickle.dumps(cipher)), AutoTokenizer.from_pretrained(saved)):
            self.texts(other, texts[:40])
        return {"what": self.name, "class": type(cipher).__name__, "model": type(cipher.backend_tokenizer.model).__name__,
                "texts": len(texts), "compared": self.compared, "failures": self.failures}

    def special(self) -> None:
        plain, cipher = self.plain, self.cipher
        named = [name for name in plain.SPECIAL_TOKENS_ATTRIBUTES if getattr(plain, name, None)]
        for name in named:
            self.holds(name, str(getattr(cipher, name)) == str(getattr(plain, name)))
            self.same_ids(name, [getattr(plain, f"{name}_id")], [getattr(cipher, f"{name}_id")])
        self.holds("no other special tokens", all(name in named or not getattr(cipher, name, None)
                                                  for name in cipher.SPECIAL_TOKENS_ATTRIBUTES))
        self.same_ids("all special ids", sorted(plain.all_special_ids, key=self.vocabulary_order),
                      sorted(cipher.all_special_ids))
        self.holds("length", len(plain) <= len(cipher) <= self.vocabulary.size)
        for name in ("model_input_names", "model_max_length", "padding_side", "truncation_side",
                     "clean_up_tokenization_spaces", "chat_template"):
            self.holds(name, getattr(plain, name) == getattr(cipher, name))
        tokens = plain.get_vocab()
        ours = cipher.get_vocab()
        self.holds("the same tokens", set(tokens) | {""} == set(ours) | {""})
        self.same_ids("the whole vocabulary", list(tokens.values()), [ours.get(token) for token in tokens])
        moved = sum(ours.get(token) != index for token, index in tokens.items())
        self.holds("ids are moved", moved > 0.9 * len(tokens) - 3)

    def vocabulary_order(self, plain_id: int) -> int:
        return self.vocabulary.plain_of.index(plain_id)

    def texts(self, cipher, texts: list[str]) -> None:
        expected = [self.plain(text, return_offsets_mapping=True) for text in texts]
        found = [cipher(text, return_offsets_mapping=True) for text in texts]
        self.same_encodings("texts", expected, found)
        bare = [self.plain.encode(text, add_special_tokens=False) for text in texts]
        self.same_ids("texts without special tokens", flat(bare),
                      flat([cipher.encode(text, add_special_tokens=False) for text in texts]))
        for plain_ids, cipher_ids in zip(expected, found):
            plain_ids, cipher_ids = plain_ids["input_ids"], cipher_ids["input_ids"]
            self.holds("tokens", self.plain.convert_ids_to_tokens(plain_ids) == cipher.convert_ids_to_tokens(cipher_ids))
            for skip in (True, False):
                self.holds("decoding", self.plain.decode(plain_ids, skip_special_tokens=skip)
                           == cipher.decode(cipher_ids, skip_special_tokens=skip))

    def pairs(self, cipher, texts: list[str]) -> None:
        pairs = list(zip(texts, reversed(texts)))
        for options in ({}, {"truncation": True, "max_length": 16}, {"truncation": "only_second", "max_length": 600}):
            pairs = [pair for pair in pairs if options.get("truncation") != "only_second" or len(pair[0]) < 200]
            self.same_encodings("pairs", [self.plain(*pair, **options) for pair in pairs],
                                [cipher(*pair, **options) for pair in pairs])

    def batches(self, cipher, texts: list[str]) -> None:
        if self.plain.pad_token is None:
            return
        for side in ("right", "left"):
            options = {"padding": True, "padding_side": side, "truncation": True, "max_length": 64}
            expected, found = self.plain(texts, **options), cipher(texts, **options)
            self.same_encodings("padded batches", [expected], [found])
            pads = [index for ids, mask in zip(found["input_ids"], found["attention_mask"])
                    for index, real in zip(ids, mask) if not real]
            self.holds("padding is the pad token", bool(pads) and set(pads) == {cipher.pad_token_id})

    def chat(self, cipher) -> None:
        for end in range(1, len(CHAT) + 1):
            options = {"add_generation_prompt": CHAT[end - 1]["role"] == "user", "return_dict": True}
            self.same_encodings("chat", [self.plain.apply_chat_template(CHAT[:end], **options)],
                                [cipher.apply_chat_template(CHAT[:end], **options)])

    def same_encodings(self, what: str, expected: list, found: list) -> None:
        """The same but for ids, which are encrypted by one call of the command."""
        for ours, theirs in zip(expected, found, strict=True):
            self.holds(what, set(ours) == set(theirs)
                       and all(ours[name] == theirs[name] for name in ours if name != "input_ids"))
        self.same_ids(what, flat([entry["input_ids"] for entry in expected]), flat([entry["input_ids"] for entry in found]))

    def same_ids(self, what: str, plain: list[int], cipher: list[int]) -> None:
        encrypted = self.vocabulary.tokens("encrypt", plain) if plain else []
        self.compared += max(len(plain), 1) - 1
        self.holds(what, encrypted == cipher)

    def holds(self, what: str, holds: bool) -> None:
        self.compared += 1
        if not holds:
            self.failures.append(what)


@torch.no_grad()
def answers(plain_folder: Path, encrypted_folder: Path, tokenizer_folder: Path) -> dict:
    """Greedy answers through each tokenizer: what a program does that knows nothing of encryption."""
    texts = []
    for model_folder, tokenizer in ((plain_folder, plain_folder), (encrypted_folder, tokenizer_folder)):
        tokenizer = AutoTokenizer.from_pretrained(tokenizer)
        model = AutoModelForCausalLM.from_pretrained(model_folder, dtype=torch.float32).eval()
        model_texts = []
        for prompt in PROMPTS[:4]:
            prompt = tokenizer.apply_chat_template([{"role": "user", "content": prompt}], add_generation_prompt=True,
                                                   return_dict=True, return_tensors="pt")
            out = model.generate(**prompt, max_new_tokens=32, do_sample=False, eos_token_id=tokenizer.eos_token_id,
                                 pad_token_id=tokenizer.pad_token_id)
            model_texts.append(tokenizer.decode(out[0, prompt["input_ids"].shape[1]:], skip_special_tokens=True))
        texts.append(model_texts)
    failures = [prompt for prompt, ours, theirs in zip(PROMPTS, *texts) if ours != theirs or not ours.strip()]
    return {"what": "answers", "compared": len(texts[0]), "failures": failures, "texts": texts[0]}


def write_tiny(tokenizer: Tokenizer, plain: Path, encrypted: Path, manifest: Path) -> None:
    """A folder without weights, of which the manifest is believed."""
    rows = 4 + max(tokenizer.get_vocab().values()) + 1
    plain.mkdir()
    encrypted.mkdir()
    config = {"model_type": "bert", "vocab_size": rows, "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2,
              "intermediate_size": 8, "max_position_embeddings": 64, "type_vocab_size": 2, "architectures": ["BertModel"]}
    (plain / "config.json").write_text(json.dumps(config))
    tokenizer.save(str(plain / "tokenizer.json"))
    special = {"unk_token": "<unk>", "pad_token": "<pad>", "cls_token": "<s>", "sep_token": "</s>",
               "additional_special_tokens": ["<extra>"]}
    added = {str(index): {"content": token.content, "lstrip": token.lstrip, "rstrip": token.rstrip,
                          "normalized": token.normalized, "single_word": token.single_word, "special": token.special}
             for index, token in tokenizer.get_added_tokens_decoder().items()}
    (plain / "tokenizer_config.json").write_text(json.dumps(
        special | {"tokenizer_class": "PreTrainedTokenizerFast", "added_tokens_decoder": added, "model_max_length": 64}))
    public = json.loads(manifest.read_text()) | {"vocab_size": rows, "plain_vocab_size": rows}
    (encrypted / "equicrypt.json").write_text(json.dumps(public))
    (encrypted / "config.json").write_text(json.dumps({"vocab_size": rows}))


def finish(tokenizer: Tokenizer, roberta: bool) -> Tokenizer:
    """Special tokens, two of them not in the model's vocabulary."""
    tokenizer.add_special_tokens(["<s>", "</s>", "<unk>", "<pad>"])
    tokenizer.add_special_tokens([AddedToken("<extra>", special=True, lstrip=True)])
    tokenizer.add_tokens([AddedToken("<tool_call>", normalized=False)])
    first, last = tokenizer.token_to_id("<s>"), tokenizer.token_to_id("</s>")
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", last), ("<s>", first)) if roberta else (
        processors.TemplateProcessing("<s> $A </s>", "<s> $A </s> $B:1 </s>:1", [("<s>", first), ("</s>", last)]))
    return tokenizer


def tiny_bpe() -> Tokenizer:
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges = [("t", "h"), ("th", "e"), ("Ġ", "the"), ("i", "n"), ("Ġ", "a"), ("e", "r"), ("ã", "ģ"), ("ð", "Ł"), ("Ġ", "Ġ")]
    pieces = [*letters, "<s>", "</s>", *("".join(merge) for merge in merges)]
    tokenizer = Tokenizer(models.BPE({piece: index for index, piece in enumerate(pieces)}, merges, ignore_merges=True))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return finish(tokenizer, roberta=True)


def tiny_byte_fallback() -> Tokenizer:
    pieces = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁", *"etaoinshrd", "▁t", "he", "▁the"]
    merges = [("▁", "t"), ("h", "e"), ("▁t", "he")]
    tokenizer = Tokenizer(models.BPE({piece: index for index, piece in enumerate(pieces)}, merges, unk_token="<unk>",
                                     fuse_unk=True, byte_fallback=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(),
                                           decoders.Strip(" ", 1, 0)])
    return finish(tokenizer, roberta=False)


def tiny_wordlevel() -> Tokenizer:
    words = ["<unk>", "the", "is", "a", "of", "blue", ",", ".", "?", "!", "sky", "Why", "What", "1", "<", ">", "|", "[", "]"]
    tokenizer = Tokenizer(models.WordLevel({word: index for index, word in enumerate(words)}, "<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    return finish(tokenizer, roberta=False)


def tiny_unigram() -> Tokenizer:
    pieces = [("<s>", 0.0), ("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -2.0123456789012345), ("▁the", -3.1),
              ("<extra>", 0.0), ("<tool_call>", 0.0), ("the", -4.7), ("aa", -3.3333333333333335), ("▁a", -3.0000000000000004)]
    pieces += [(letter, -4.0 - 0.1 * index) for index, letter in enumerate("etaoinshrdlcumwfgypbvk,.?!01")]
    tokenizer = Tokenizer(models.Unigram(pieces, 3, False))
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    return finish(tokenizer, roberta=False)


TINY = {"bpe": tiny_bpe, "byte-fallback": tiny_byte_fallback, "word-level": tiny_wordlevel, "unigram": tiny_unigram}


def golden(name: str) -> list[str]:
    cases = json.loads((ROOT / "tests" / "golden" / f"{name}.json").read_text())["cases"]
    return [case["text"] for case in cases]


def flat(lists: list) -> list[int]:
    return [index for entry in lists for index in (flat(entry) if isinstance(entry, list) else [entry])]


if __name__ == "__main__":
    sys.exit(main())
