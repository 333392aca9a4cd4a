"""`Served(BINARY, "serve", FOLDER, ...)`: a command that prints `serving NAME on URL`, or `at ADDRESS`, for as long as a `with` block.

What such a process keeps (counts of tokens, a transport key) goes to a folder of its own, and is removed with it.
"""

import os
import re
import subprocess
import tempfile
import urllib.request


class Served:
    """A child process that serves; `url` is where, `said` what it printed after that, once it has ended."""

    def __init__(self, *command: object) -> None:
        # Counts and keys of tests and measurements are nobody's.
        self.state = tempfile.TemporaryDirectory()
        env = {**os.environ, "XDG_STATE_HOME": self.state.name}
        # Over shares nothing is used up, and a budget is refused.
        if "--shares" not in command:
            env["EQUICRYPT_GATEWAY_BUDGET"] = "off"
        self.child = subprocess.Popen([str(word) for word in command], stdout=subprocess.PIPE, text=True, env=env)
        line = self.child.stdout.readline()
        place = re.search(r" (?:on|at) (\S+)$", line.strip())
        if not place:
            raise SystemExit(f"{command[0]} {command[1]}: expected a line `serving NAME on URL`, found {line!r}")
        self.url, self.said = place[1], ""

    def __enter__(self) -> "Served":
        return self

    def __exit__(self, *_: object) -> None:
        self.child.terminate()
        self.said, _ = self.child.communicate()
        self.state.cleanup()

    def metric(self, name: str) -> int:
        with urllib.request.urlopen(f"{self.url}/metrics") as answer:
            lines = answer.read().decode().splitlines()
        return next(int(line.split()[-1]) for line in lines if line.startswith(name + " "))
