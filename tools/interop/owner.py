"""What only the owner does, all through the equicrypt binary: these tools never read a key.

`Owner(binary, key)` makes keys and encrypted folders; `Vocabulary` turns plain ids into cipher ids and back.
"""

import json
import subprocess
from pathlib import Path


class Owner:
    def __init__(self, binary: Path, key: Path) -> None:
        self.binary = binary.resolve()
        self.key = key

    def keygen(self) -> None:
        self.must("keygen", "-o", self.key)

    def encrypt(self, plain: Path, encrypted: Path, *options: str) -> None:
        self.must("encrypt", plain, "-o", encrypted, "--key", self.key, *options)

    def vocabulary(self, encrypted: Path) -> "Vocabulary":
        return Vocabulary(self, encrypted)

    def must(self, *words: object, text: str = "") -> str:
        """Standard output of a command that has to succeed."""
        done = self.run(*words, text=text)
        if done.returncode != 0:
            raise SystemExit(f"equicrypt {words[0]} left with status {done.returncode}: {done.stderr.strip()}")
        return done.stdout

    def run(self, *words: object, text: str = "") -> subprocess.CompletedProcess:
        return subprocess.run([self.binary, *map(str, words)], input=text, capture_output=True, text=True)


class Vocabulary:
    """The secret vocabulary of one encrypted folder."""

    def __init__(self, owner: Owner, encrypted: Path) -> None:
        self.owner = owner
        self.manifest = encrypted / "equicrypt.json"
        self.size = json.loads((encrypted / "config.json").read_text())["vocab_size"]
        self.plain_of = self.decrypt(list(range(self.size)))

    def classes(self, plain_id: int) -> list[int]:
        """Every cipher id that stands for `plain_id`."""
        cipher_ids = [cipher for cipher, plain in enumerate(self.plain_of) if plain == plain_id]
        if not cipher_ids:
            raise SystemExit(f"no cipher id decrypts to {plain_id}")
        return cipher_ids

    def encrypt(self, ids: list[int]) -> list[int]:
        cipher_ids = self.tokens("encrypt", ids)
        if cipher_ids == ids:
            raise SystemExit("tokens encrypt returned the plain ids; nothing is sent to the model")
        if self.decrypt(cipher_ids) != ids:
            raise SystemExit("tokens decrypt does not return the ids that tokens encrypt was given")
        return cipher_ids

    def decrypt(self, cipher_ids: list[int]) -> list[int]:
        return self.tokens("decrypt", cipher_ids)

    def tokens(self, verb: str, ids: list[int]) -> list[int]:
        text = self.owner.must("tokens", verb, "--key", self.owner.key, "--manifest", self.manifest,
                               text=json.dumps(ids))
        answer = json.loads(text)
        if not isinstance(answer, list) or len(answer) != len(ids) or not all(type(item) is int for item in answer):
            raise SystemExit(f"tokens {verb}: expected a JSON array of {len(ids)} ids on standard output")
        return answer


def check_names_no_token(encrypted: Path) -> None:
    """The folder's files must say null for every special token, or an engine stops on, or adds, one of its own."""
    for name in ("config.json", "generation_config.json"):
        stated = json.loads((encrypted / name).read_text())
        for field in ("bos_token_id", "eos_token_id", "pad_token_id"):
            if stated.get(field, "absent") is not None:
                raise SystemExit(f"{encrypted / name} states {field} = {stated.get(field, 'nothing')}; expected null")
