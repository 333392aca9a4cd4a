"""Texts for the attacks on token statistics, made of Debian packages: what an owner sends, and three kinds of text that an
attacker may know. One paragraph a line, one empty line between documents.

    traffic.txt       half of the Linux kernel's documentation, by document
    same-source.txt   the other half: a distribution-aware attacker
    same-domain.txt   a computing dictionary, manual pages and the Debian handbook: a domain-aware one
    general.txt       a political FAQ, a Bible and sayings: a zero-knowledge one

`apt-get download` fetches the packages, `dpkg-deb` opens them; nothing is installed. The texts are under free licences (see
the packages' copyright files), and are used here only.
"""

import argparse
import hashlib
import html
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "train"))
from debian_texts import SOURCES, fetch, files, pages  # noqa: E402

DOMAIN = ["computing", "manual"]
GENERAL = ["politics", "scripture", "quotation"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where packages and texts go")
    folder = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    kernel = list(documents(latest("linux-doc-6.1", folder), r".*/Documentation/(?!translations/).*\.rst(\.gz)?", restructured))
    halves: list[list[list[str]]] = [[], []]
    for name, paragraphs in kernel:
        halves[hashlib.sha256(name.encode()).digest()[0] % 2].append(paragraphs)
    handbook = documents(latest("debian-handbook", folder), r".*/html/en-US/.*\.html", of_page)
    write(folder / "traffic.txt", halves[0])
    write(folder / "same-source.txt", halves[1])
    write(folder / "same-domain.txt", [*known(DOMAIN, folder), *(paragraphs for _, paragraphs in handbook)])
    write(folder / "general.txt", known(GENERAL, folder))


def known(labels: list[str], folder: Path) -> Iterator[list[str]]:
    """The documents of pinned sources."""
    for source in SOURCES:
        if source.label in labels:
            for path, content in files(fetch(source, folder), source.members):
                for _, text in source.documents(path, content.decode("utf-8", "replace")):
                    yield paragraphs_of(text)


def latest(package: str, folder: Path) -> Path:
    """The newest version: the kernel's moves with each security update, so it cannot be pinned."""
    found = sorted(folder.glob(f"{package}_*.deb"))
    if not found:
        command = ["apt-get", "download", "-qq", package]
        ran = subprocess.run(command, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True)
        if ran.returncode != 0:
            sys.exit(f"{' '.join(command)} failed; this needs Debian 12, and 'apt-get update' first:\n{ran.stderr}")
        found = sorted(folder.glob(f"{package}_*.deb"))
    print(found[-1].name)
    return found[-1]


def documents(package: Path, members: str, paragraphs) -> Iterator[tuple[str, list[str]]]:
    for path, content in files(package, members):
        yield path, paragraphs(path, content.decode("utf-8", "replace"))


def of_page(path: str, text: str) -> list[str]:
    return [p for _, page in pages(path, text) for p in paragraphs_of(page)]


def restructured(_: str, text: str) -> list[str]:
    """Paragraphs without rulers, tables and directives."""
    text = re.sub(r"^[ \t]*([=\-~^\"'`#*+._:])\1{2,}[ \t]*$", "", text, flags=re.MULTILINE)
    text = re.sub(r"^[ \t]*\.\. .*$", "", text, flags=re.MULTILINE)
    return paragraphs_of(text)


def paragraphs_of(text: str) -> list[str]:
    bare = (" ".join(html.unescape(p).split()) for p in re.split(r"\n[ \t]*\n", text))
    return [p for p in bare if len(p) > 20 and any(c.isalpha() for c in p)]


def write(path: Path, texts) -> None:
    texts = [paragraphs for paragraphs in texts if paragraphs]
    path.write_text("\n\n".join("\n".join(paragraphs) for paragraphs in texts) + "\n")
    words = sum(len(p.split()) for paragraphs in texts for p in paragraphs)
    print(f"{path.name}: {len(texts)} documents, {words} words")


if __name__ == "__main__":
    main()
