"""The gateway's page in a real browser, before a real host.

    python tools/gateway/page.py --equicrypt target/release/equicrypt --smollm2 DIR [--screenshot FILE]

Encrypts SmolLM2-135M-Instruct, serves it, starts the gateway, and runs tools/page/test_page.mjs on its address. Needs Node
(20.15 or later), npm and Chromium; what Node needs is installed into tools/page by npm. Leaves with the test's status.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "interop"))
from served import Served  # noqa: E402

PAGE = Path(__file__).resolve().parents[1] / "page"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--equicrypt", type=Path, required=True)
    parser.add_argument("--smollm2", type=Path, required=True)
    parser.add_argument("--screenshot", type=Path)
    args = parser.parse_args()
    binary = args.equicrypt.resolve()
    subprocess.run(["npm", "ci", "--silent", "--no-audit", "--no-fund"], cwd=PAGE, check=True)
    with tempfile.TemporaryDirectory() as scratch:
        key, encrypted = Path(scratch) / "owner.key", Path(scratch) / "encrypted"
        run = lambda *words: subprocess.run([binary, *words], check=True, stdout=subprocess.DEVNULL)
        run("keygen", "-o", key)
        run("encrypt", args.smollm2, "-o", encrypted, "--key", key)
        with Served(binary, "serve", encrypted, "--listen", "127.0.0.1:0") as host, Served(
            binary, "gateway", "--model", args.smollm2, "--key", key, "--upstream", host.url, "--name",
            "SmolLM2-135M-Instruct", "--listen", "127.0.0.1:0",
        ) as gateway:
            picture = ["--screenshot", args.screenshot.resolve()] if args.screenshot else []
            done = subprocess.run(["node", PAGE / "test_page.mjs", gateway.url, *picture], check=False)
    raise SystemExit(done.returncode)


if __name__ == "__main__":
    main()
