"""The nearest passages of each query in Chroma, run as a server, and in LanceDB.

    PYTHON vector_databases.py VECTORS.npz NEIGHBOURS

VECTORS.npz holds `passages` and `queries`. The last line of standard output is JSON: for each database a list of the
passages' numbers for each query. Distances are Euclidean. Chroma's index is approximate, and is built and searched widely
enough to be exact at this size; LanceDB compares with every vector.
"""

import json
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import chromadb
import lancedb
import numpy as np

BATCH = 500


def main(file: str, neighbours: int) -> None:
    vectors = np.load(file)
    passages, queries = (vectors[name].astype(np.float32) for name in ("passages", "queries"))
    with tempfile.TemporaryDirectory() as scratch:
        found = {
            "chroma": in_chroma(Path(scratch) / "chroma", passages, queries, neighbours),
            "lancedb": in_lancedb(Path(scratch) / "lancedb", passages, queries, neighbours),
        }
    print(json.dumps(found))


def in_chroma(folder: Path, passages: np.ndarray, queries: np.ndarray, neighbours: int) -> list[list[int]]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    program = Path(sys.executable).with_name("chroma")
    server = subprocess.Popen([program, "run", "--path", folder, "--host", "127.0.0.1", "--port", str(port)],
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        client = connected(port)
        wide = {"space": "l2", "ef_construction": 800, "ef_search": 800, "max_neighbors": 48}
        collection = client.create_collection("passages", configuration={"hnsw": wide}, embedding_function=None)
        for first in range(0, len(passages), BATCH):
            part = passages[first:first + BATCH]
            collection.add(ids=[str(first + i) for i in range(len(part))], embeddings=part)
        answers = collection.query(query_embeddings=queries, n_results=neighbours, include=["distances"])
        return [[int(number) for number in answer] for answer in answers["ids"]]
    finally:
        server.terminate()
        server.wait()


def connected(port: int) -> "chromadb.ClientAPI":
    last = None
    for _ in range(150):
        try:
            client = chromadb.HttpClient("127.0.0.1", port, settings=chromadb.Settings(anonymized_telemetry=False))
            client.heartbeat()
            return client
        except Exception as error:  # it is not up yet
            last = error
            time.sleep(0.2)
    raise SystemExit(f"the Chroma server does not answer: {last}")


def in_lancedb(folder: Path, passages: np.ndarray, queries: np.ndarray, neighbours: int) -> list[list[int]]:
    rows = [{"number": number, "vector": vector} for number, vector in enumerate(passages)]
    table = lancedb.connect(folder).create_table("passages", rows)
    answer = lambda query: table.search(query).distance_type("l2").limit(neighbours).to_list()
    return [[row["number"] for row in answer(query)] for query in queries]


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
