"""English sentences of six kinds, each kind from one Debian 12 package that is pinned by version and SHA-256.

`apt-get download` fetches a package, `dpkg-deb` opens it; nothing is installed. The texts are under free licences (see
the packages' copyright files) and are used here only, never stored beside the code.
"""

import gzip
import hashlib
import html
import io
import re
import subprocess
import sys
import tarfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Sentence:
    label: str
    document: str
    """The dictionary entry, page, file or saying that it stands in."""
    text: str


@dataclass(frozen=True)
class Source:
    label: str
    package: str
    version: str
    sha256: str
    members: str
    """Which files of the package, as a regular expression on their whole paths."""
    documents: Callable[[str, str], Iterator[tuple[str, str]]]
    """A file's name and text to names and texts of documents; an empty line ends a paragraph."""


def sentences(folder: Path) -> list[Sentence]:
    """All sentences of all sources, in a fixed order; those that two documents share are left out."""
    found = [sentence for source in SOURCES for sentence in of_source(source, folder)]
    places = Counter(text for text, _ in {(s.text.lower(), (s.label, s.document)) for s in found})
    once = {(s.text.lower(), s.label): s for s in found if places[s.text.lower()] == 1}
    return list(once.values())


def of_source(source: Source, folder: Path) -> Iterator[Sentence]:
    for path, content in files(fetch(source, folder), source.members):
        for document, text in source.documents(path, content.decode("utf-8", "replace")):
            for paragraph in re.split(r"\n[ \t]*\n", text):
                for sentence in split(paragraph):
                    yield Sentence(source.label, document, sentence)


def fetch(source: Source, folder: Path) -> Path:
    """The package in `folder`, downloaded first if it is not there."""
    name = f"{source.package}_{source.version.replace(':', '%3a')}_all.deb"
    if not (folder / name).exists():
        command = ["apt-get", "download", "-qq", f"{source.package}={source.version}"]
        ran = subprocess.run(command, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True)
        if ran.returncode != 0:
            raise SystemExit(f"{' '.join(command)} failed; this needs Debian 12, and 'apt-get update' first:\n{ran.stderr}")
    found = hashlib.sha256((folder / name).read_bytes()).hexdigest()
    if found != source.sha256:
        (folder / name).unlink()
        raise SystemExit(f"{name}: expected SHA-256 {source.sha256}, found {found}; it was deleted")
    return folder / name


def files(package: Path, members: str) -> Iterator[tuple[str, bytes]]:
    """The regular files of a package whose paths match, in the order of their paths, uncompressed."""
    tar = subprocess.run(["dpkg-deb", "--fsys-tarfile", package], check=True, capture_output=True).stdout
    with tarfile.open(fileobj=io.BytesIO(tar)) as archive:
        wanted = (m for m in archive.getmembers() if m.isfile() and re.fullmatch(members, m.name))
        for member in sorted(wanted, key=lambda member: member.name):
            yield member.name, uncompressed(archive.extractfile(member).read())


def uncompressed(content: bytes) -> bytes:
    """A gzip file's content, or that of a chain of zlib streams with NULs in between, or anything else as it is."""
    if content.startswith(b"\x1f\x8b"):
        return gzip.decompress(content)
    streams = []
    while content.startswith((b"\x78\x9c", b"\x78\xda")):
        stream = zlib.decompressobj()
        streams.append(stream.decompress(content))
        content = stream.unused_data.lstrip(b"\0")
    return b"".join(streams) + content


def split(paragraph: str) -> Iterator[str]:
    """Its sentences of 8 to 50 words that are prose, with straight quotes: which kind of quotes a source has tells nothing."""
    paragraph = paragraph.translate(str.maketrans("‘’“”", "''\"\""))
    for sentence in re.split(r"(?<=[.!?])[\"')]*\s+(?=[A-Z\"'(])", " ".join(paragraph.split())):
        words = sentence.split()
        plain = sum(c.isalpha() and c.isascii() or c.isspace() for c in sentence)
        if 8 <= len(words) <= 50 and sentence[0].isupper() and sentence[-1] in ".!?" and plain > 0.88 * len(sentence):
            yield sentence


def foldoc(_: str, text: str) -> Iterator[tuple[str, str]]:
    for name, body in entries(text):
        body = re.sub(r"<[^<>]*>|\[[^\]]*\]|\{\(?http[^}]*\}|\n *\d+\. ", " ", body)
        yield name, re.sub(r"[{}]", "", body)


def gcide(_: str, text: str) -> Iterator[tuple[str, str]]:
    for name, body in entries(text):
        if not name.startswith("00-database"):
            body = re.sub(r"\[[^\]]*\]|--[A-Z][^.\n]*\.?(?=\n|$)|\([a-z]\) |\n *\d+\. ", " ", body)
            yield name, re.sub(r"[{}]", "", body)


def entries(text: str) -> Iterator[tuple[str, str]]:
    """The entries of a dictionary in dictd's form: a headword at the margin, everything else further in."""
    for entry in re.split(r"\n\n(?=\S)", text):
        name, _, body = entry.partition("\n")
        yield name, body


def pages(path: str, text: str) -> Iterator[tuple[str, str]]:
    paragraphs = re.findall(r"<p>(.*?)</p>", text, re.DOTALL)
    bare = (re.sub(r"\[[^\]]*\]", " ", html.unescape(re.sub(r"<[^>]*>", "", p))) for p in paragraphs)
    yield path, "\n\n".join(" ".join(p.split()) for p in bare)


def chapters(path: str, text: str) -> Iterator[tuple[str, str]]:
    """The chapters of a Bible in OSIS markup, without headings and footnotes."""
    for number, chapter in enumerate(text.split("<chapter ")):
        chapter = re.sub(r"<(note|title)\b.*?</\1>", "", "<" + chapter, flags=re.DOTALL)
        chapter = re.sub(r"<div [^>]*type=\"x-p\"[^>]*>", "\n\n", chapter)
        yield f"{path}:{number}", html.unescape(re.sub(r"<[^>]*>", "", chapter))


def sayings(path: str, text: str) -> Iterator[tuple[str, str]]:
    for number, saying in enumerate(text.split("\n%\n")):
        yield f"{path}:{number}", re.sub(r"\n\s*-- .*", "", re.sub(".\b", "", saying), flags=re.DOTALL)


def manual(path: str, text: str) -> Iterator[tuple[str, str]]:
    """A manual page: fonts are dropped, every other request ends the paragraph."""
    lines = []
    for line in text.splitlines():
        request = re.match(r"[.'] *([A-Za-z]*|\\\")\s*(.*)", line)
        if request is None:
            lines.append(line)
        elif request[1] in ("B", "I", "R", "SM"):
            lines.append(request[2].replace('"', ""))
        elif request[1] in ("BI", "BR", "IB", "IR", "RB", "RI"):
            parts = re.findall(r'"([^"]*)"|(\S+)', request[2])
            lines.append("".join(quoted or bare for quoted, bare in parts))
        elif request[1] != '\\"':
            lines.append("")
    text = re.sub(r"\\f(?:[A-Z]|\([A-Z]{2})|\\[&/,%]", "", "\n".join(lines))
    for escape, character in {r"\-": "-", r"\(aq": "'", r"\(dq": '"', r"\(em": "-", r"\~": " ", r"\ ": " "}.items():
        text = text.replace(escape, character)
    yield path, text


SOURCES = [
    Source("computing", "dict-foldoc", "20230119-1",
           "745cbedb55c2da609cc88ee0284e9d11a67a11ae3709daf7bad0e895ac3294c3", r".*/foldoc\.dict\.dz", foldoc),
    Source("dictionary", "dict-gcide", "0.48.5+nmu2",
           "7b0af5cfde3cbdef5e9d6e78f92ec335ced7c2790f37a40f49bebc6f7347ac0f", r".*/gcide\.dict\.dz", gcide),
    Source("manual", "manpages", "6.03-2",
           "efa1ba4cd19ad7baeae959c9209a7eb74be2ebb858bcabb412597bfc9f588c91", r".*/man/man\d/.*\.gz", manual),
    Source("politics", "anarchism", "15.3-3",
           "cf21c10948b00e923c62eb31c39a3390413fa26c5ee0e3b925feb0ec7fe42948", r".*/html/(sec|append).*\.html", pages),
    Source("quotation", "fortunes", "1:1.99.1-7.3",
           "41d0551dc0ff52f875a2ecef7c39da2f672ab468c37e170119f7e0245a9d63c5",
           r".*/fortunes/(cookie|education|food|law|love|miscellaneous|people|platitudes|politics|wisdom|work)", sayings),
    Source("scripture", "sword-text-web", "426.0-1",
           "930b23670b352f0829a306501de4bebb5e654a2df02cde2cbe86b802177868e1", r".*/[no]t\.bzz", chapters),
]


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: debian_texts.py FOLDER, which gets the packages")
    Path(sys.argv[1]).mkdir(parents=True, exist_ok=True)
    for each in SOURCES:
        fetch(each, Path(sys.argv[1]))
