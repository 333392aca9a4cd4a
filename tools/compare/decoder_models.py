"""One decoder in the forms that engines load: as it is, with its head untied, encrypted, and each as a GGUF file.

`Models(owner, plain, folder)` makes a form when it is first asked for, and finds it in `folder` the next time.
"""

import json
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1] / "interop"))
from llama_answers import GgufVocabulary  # noqa: E402
from owner import Owner  # noqa: E402

# `untied` is the plain model with a copy of its embedding as its head: what `rotate` adds in bytes, and nothing else.
VARIANTS = ["plain", "untied", "permute", "rotate"]
EMBEDDING, HEAD = "model.embed_tokens.weight", "lm_head.weight"


class Models:
    def __init__(self, owner: Owner, plain: Path, folder: Path) -> None:
        self.owner, self.plain, self.kept = owner, plain, folder
        folder.mkdir(parents=True, exist_ok=True)
        if not owner.key.is_file():
            owner.keygen()

    def folder(self, variant: str) -> Path:
        if variant == "plain":
            return self.plain
        made = self.kept / variant
        if not (made / "config.json").is_file():
            if variant == "untied":
                untie(self.plain, made)
            else:
                self.owner.encrypt(self.plain, made, "--profile", variant)
        return made

    def gguf(self, variant: str, dtype: str) -> Path:
        if variant in ("plain", "untied"):
            made = self.kept / f"{variant}-{dtype}.gguf"
            if not made.is_file():
                self.owner.must("export", self.folder(variant), "-o", made, "--quantize", dtype)
            return made
        made = self.kept / f"{variant}-{dtype}" / "model.gguf"
        if not made.is_file():
            self.owner.encrypt(self.plain, made.parent, "--profile", variant, "--format", "gguf", "--quantize", dtype)
        return made

    def vocabulary(self, folder: Path) -> "Ids":
        """Of a folder or of a GGUF file's folder; a plain one changes no id."""
        if not (folder / "equicrypt.json").is_file():
            return Ids(None)
        return Ids(GgufVocabulary(self.owner, folder).plain_of)


class Ids:
    """Plain ids to what a model was made for, and back; without homophones each has one."""

    def __init__(self, plain_of: list[int] | None) -> None:
        self.plain_of = plain_of
        self.cipher_of = plain_of and {plain: cipher for cipher, plain in enumerate(plain_of)}

    def encrypt(self, ids: list[int]) -> list[int]:
        return [self.cipher_of[i] for i in ids] if self.cipher_of else ids

    def decrypt(self, ids: list[int]) -> list[int]:
        return [self.plain_of[i] for i in ids] if self.plain_of else ids


def untie(plain: Path, made: Path) -> None:
    from safetensors.torch import load_file, save_file

    config = json.loads((plain / "config.json").read_text())
    tensors = {name: tensor for file in sorted(plain.glob("*.safetensors")) for name, tensor in load_file(file).items()}
    if not config.get("tie_word_embeddings") or EMBEDDING not in tensors or HEAD in tensors:
        raise SystemExit(f"{plain} has no tied head to untie; leave out the variant `untied`")
    made.mkdir(exist_ok=True)
    save_file(tensors | {HEAD: tensors[EMBEDDING].clone()}, made / "model.safetensors", metadata={"format": "pt"})
    (made / "config.json").write_text(json.dumps(config | {"tie_word_embeddings": False}, indent=2))


def weights_bytes(path: Path) -> int:
    """Of a GGUF file, or of a folder's tensors."""
    return path.stat().st_size if path.is_file() else sum(file.stat().st_size for file in path.glob("*.safetensors"))
