"""BERT's uncased WordPiece tokenizer in plain Python: a second computation that `tokenizers`' ids are compared with.

Written from the description of BERT's tokenizer: control characters go (vertical tab and next line among them), white
space becomes a space, each CJK ideograph stands alone, letters lose their case and their combining marks, punctuation
stands alone, and each word is cut into the longest pieces that the vocabulary knows, from the left. The categories are
those of Python's tables, so that the youngest characters may be treated differently elsewhere.
"""

import re
import unicodedata

IDEOGRAPHS = ((0x4E00, 0x9FFF), (0x3400, 0x4DBF), (0x20000, 0x2A6DF), (0x2A700, 0x2B73F), (0x2B740, 0x2B81F),
              (0x2B920, 0x2CEAF), (0xF900, 0xFAFF), (0x2F800, 0x2FA1F))
LONGEST_WORD = 100
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


class WordPiece:
    def __init__(self, vocabulary: list[str]) -> None:
        self.ids = {piece: index for index, piece in enumerate(vocabulary)}

    def encode(self, text: str, longest: int) -> list[int]:
        """The ids of one text between [CLS] and [SEP], `longest` in all at most: the text's end is cut off."""
        ids = []
        for part in re.split(f"({'|'.join(map(re.escape, SPECIAL))})", text):
            ids += [self.ids[part]] if part in SPECIAL else [self.ids[piece] for piece in self.pieces(part)]
        return [self.ids["[CLS]"], *ids[: longest - 2], self.ids["[SEP]"]]

    def pieces(self, text: str) -> list[str]:
        return [piece for word in words(normal(text)) for piece in self.cut(word)]

    def cut(self, word: str) -> list[str]:
        """The longest known pieces from the left; a word that cannot be cut up is one [UNK]."""
        if len(word) > LONGEST_WORD:
            return ["[UNK]"]
        found, start = [], 0
        while start < len(word):
            lead = "##" if start else ""
            ends = (end for end in range(len(word), start, -1) if lead + word[start:end] in self.ids)
            end = next(ends, None)
            if end is None:
                return ["[UNK]"]
            found.append(lead + word[start:end])
            start = end
        return found


def normal(text: str) -> str:
    kept = [" " if is_space(c) else c for c in text if is_space(c) or not is_control(c)]
    spaced = "".join(f" {c} " if any(low <= ord(c) <= high for low, high in IDEOGRAPHS) else c for c in kept)
    bare = "".join(c for c in unicodedata.normalize("NFD", spaced) if unicodedata.category(c) != "Mn")
    # One letter at a time: what a letter becomes must not depend on its neighbours, as it does for the last sigma.
    return "".join(c.lower() for c in bare)


def words(text: str) -> list[str]:
    return [word for run in text.split(" ") for word in PUNCTUATION.split(run) if word]


def is_space(c: str) -> bool:
    return c in "\t\n\r" or unicodedata.category(c) in ("Zs", "Zl", "Zp")


def is_control(c: str) -> bool:
    return c in "\0\ufffd" or unicodedata.category(c).startswith("C")


def is_punctuation(c: str) -> bool:
    return c in "$+<=>^`|~" or unicodedata.category(c).startswith("P")


PUNCTUATION = re.compile("([" + "".join(re.escape(chr(c)) for c in range(0x110000) if is_punctuation(chr(c))) + "])")
