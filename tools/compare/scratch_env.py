"""Environments of pinned packages for programs that cannot share one: TenSEAL's and SPU's."""

import hashlib
import json
import subprocess
from pathlib import Path

HERE = Path(__file__).resolve().parent


class ScratchEnv:
    """`folder/name`, made or completed from name-requirements.txt by the interpreter `python`."""

    def __init__(self, folder: Path, name: str, python: Path) -> None:
        self.venv = folder.resolve() / name
        pins = HERE / f"{name}-requirements.txt"
        stamp, digest = self.venv / "equicrypt-pins.sha256", hashlib.sha256(pins.read_bytes()).hexdigest()
        if stamp.exists() and stamp.read_text() == digest:
            return
        stamp.unlink(missing_ok=True)
        must(python, "-m", "venv", self.venv)
        must(self.python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps",
             "--only-binary", ":all:", "-r", pins)
        stamp.write_text(digest)

    @property
    def python(self) -> Path:
        return self.venv / "bin" / "python"

    def run(self, script: str, *options: object) -> dict:
        """The JSON that a script of this folder prints."""
        return json.loads(must(self.python, HERE / script, *options))


def must(*command: object) -> str:
    words = [str(word) for word in command]
    done = subprocess.run(words, capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(words)} left with status {done.returncode}: {done.stderr.strip()[-2000:]}")
    return done.stdout
