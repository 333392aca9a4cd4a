"""Builds empty stand-ins for the CUDA libraries that PyTorch's Linux wheel links to but never calls on a CPU.

    cuda_stubs.py SITE_PACKAGES

The wheel cannot be imported unless every shared library it names can be found, and the real ones are about 2 GB of
downloads. On a machine that only computes on its CPU no function of theirs is ever called, so for each missing
library this writes `torch/lib/<soname>` with exactly the functions that PyTorch's own libraries import. A call by
mistake returns 100, which is `cudaErrorNoDevice`. The runtime and the profiler (libcudart, libcupti: 13 MB) run code
when they are loaded and are installed as they are. Needs `cc`, `nm` and `readelf`.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

STUBBED = ("libcublas", "libcudnn", "libcufft", "libcufile", "libcusolver", "libcusparse", "libnccl", "libnvrtc",
           "libnvshmem", "libcurand")
IMPORTED_AS = ("cublas", "cudnn", "cufft", "cuFile", "cusolver", "cusparse", "nccl", "pnccl", "nvrtc", "nvshmem",
               "nvshmemx", "nvshmemi", "curand")


def main(site_packages: Path) -> None:
    lib = site_packages / "torch" / "lib"
    libraries = sorted(path for path in lib.glob("*.so") if not path.name.startswith(STUBBED))
    if not libraries:
        sys.exit(f"{lib}: no PyTorch libraries here; install torch into this environment first")
    real = {path.name for path in (site_packages / "nvidia").rglob("*.so*")}
    wanted = {name for path in libraries for name in needed(path)} - real
    sonames = sorted(name for name in wanted if name.startswith(STUBBED))
    defined = {symbol.split("@")[0] for path in libraries for symbol in symbols(path, "--defined-only")}
    imports = {symbol for path in libraries for symbol in symbols(path, "--undefined-only")}
    functions = sorted(symbol for symbol in imports
                       if symbol.startswith(IMPORTED_AS) and symbol.split("@")[0] not in defined)
    versions = {soname: set() for soname in sonames}
    for path in libraries:
        for soname, version in needed_versions(path):
            versions.get(soname, set()).add(version)
    for soname in sonames:
        build(lib / soname, [name for name in functions if home(name, versions, sonames) == soname], versions[soname])
    print(f"{len(sonames)} stand-in libraries, {len(functions)} functions: {' '.join(sonames)}")


def home(symbol: str, versions: dict[str, set[str]], sonames: list[str]) -> str:
    """The library that must define `name@version`; the loader looks for a name without a version in all of them."""
    version = symbol.partition("@")[2]
    return next((soname for soname in sonames if version in versions[soname]), sonames[0])


def needed(path: Path) -> list[str]:
    lines = run("readelf", "-d", str(path)).splitlines()
    return [line.split("[")[1].split("]")[0] for line in lines if "(NEEDED)" in line]


def symbols(path: Path, which: str) -> set[str]:
    """Dynamic symbols, as `name` or `name@version`."""
    lines = run("nm", "-D", which, str(path)).splitlines()
    return {line.split()[-1].replace("@@", "@") for line in lines if line.strip()}


def needed_versions(path: Path) -> list[tuple[str, str]]:
    """(soname, version) pairs of the version references, which the loader checks against the library it finds."""
    pairs, soname = [], None
    for line in run("readelf", "-V", "-W", str(path)).splitlines():
        words = line.split()
        if "File:" in words:
            soname = words[words.index("File:") + 1]
        elif "Name:" in words and "Flags:" in words and soname:
            pairs.append((soname, words[words.index("Name:") + 1]))
    return pairs


def build(target: Path, functions: list[str], versions: set[str]) -> None:
    names = {version: [name.split("@")[0] for name in functions if name.partition("@")[2] == version]
             for version in ["", *sorted(versions)]}
    with tempfile.TemporaryDirectory() as folder:
        source, script = Path(folder) / "stubs.c", Path(folder) / "versions.map"
        everything = [name for group in names.values() for name in group]
        source.write_text("".join(f"long {name}(void) {{ return 100; }}\n" for name in everything))
        script.write_text("".join(f"{version} {{ global: {'; '.join(group + ['no_such_name'])}; }};\n"
                                  for version, group in names.items() if version))
        versioned = [f"-Wl,--version-script={script}"] if versions else []
        run("cc", "-shared", "-fPIC", "-w", "-fno-builtin", f"-Wl,-soname,{target.name}", *versioned,
            "-o", str(target), str(source))


def run(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: cuda_stubs.py SITE_PACKAGES")
    main(Path(sys.argv[1]))
