"""A classifier of English sentences with a real BERT body: all-MiniLM-L6-v2, taught six kinds of text here.

    equicrypt fetch minilm-l6-v2 -o MINILM
    tools/setup_venv.sh VENV
    VENV/bin/python tools/train/minilm_classifier.py --minilm MINILM --output DIR --heldout FILE.json
        [--packages FOLDER] [--sentences N] [--epochs E] [--seed S] [--threads T]

DIR becomes an ordinary `BertForSequenceClassification` folder. Its last two layers, pooler and classifier were trained on
sentences of six kinds (debian_texts.py); the rest is MiniLM's. FILE gets 500 sentences of documents that training never
saw, each with its label, its ids and the logits of the saved model in f32. A summary goes to standard output as JSON, a
table of which kind is taken for which to standard error. The same seed and number of threads on the same CPU give the
same bytes. Exit status 1 if fewer than 80 % of the held-out sentences are classified right.
"""

import argparse
import hashlib
import json
import shutil
import sys
import tempfile
import time
from pathlib import Path

import torch
import transformers
from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification, BertModel

from debian_texts import SOURCES, Sentence, sentences

LABELS = [source.label for source in SOURCES]
HELD_OUT = 500
MAX_TOKENS = 64
TUNED_LAYERS = 2
BATCH = 32
ENOUGH = 0.8


def main() -> int:
    options = parse()
    start = time.monotonic()
    transformers.utils.logging.disable_progress_bar()
    torch.use_deterministic_algorithms(True)
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    training, held_out = chosen(options)
    tokenizer = AutoTokenizer.from_pretrained(options.minilm)
    model = untrained(options.minilm)
    train(model, tokenizer, training, options)
    save(model, options)
    rows = classified(options.output, tokenizer, held_out)
    accuracy = sum(row["label"] == row["predicted"] for row in rows) / len(rows)
    options.heldout.write_text(json.dumps({"labels": LABELS, "accuracy": accuracy, "sentences": rows}) + "\n")
    print_confusion(rows)
    weights = hashlib.sha256((options.output / "model.safetensors").read_bytes()).hexdigest()
    print(json.dumps({"labels": LABELS, "trained_on": len(training), "held_out": len(rows),
                      "accuracy": round(accuracy, 4), "sha256": weights, "seed": options.seed,
                      "threads": options.threads, "seconds": round(time.monotonic() - start)}))
    return 0 if accuracy >= ENOUGH else 1


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--minilm", type=Path, required=True, help="the folder of all-MiniLM-L6-v2")
    parser.add_argument("--output", type=Path, required=True, help="the folder to make")
    parser.add_argument("--heldout", type=Path, required=True, help="the JSON file to make")
    parser.add_argument("--packages", type=Path, help="keep the Debian packages in this folder, or take them from it")
    parser.add_argument("--sentences", type=int, default=1000, help="sentences of each kind to train on")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    if min(options.sentences, options.epochs, options.threads) < 1:
        parser.error("--sentences, --epochs and --threads must be at least 1")
    if options.output.exists():
        parser.error(f"{options.output} exists already; choose another folder or delete it")
    return options


def chosen(options: argparse.Namespace) -> tuple[list[Sentence], list[Sentence]]:
    """Sentences to train on and held-out ones, as many of each kind as of any other, give or take one.

    A tenth of the documents is held out whole. What is in which part, and in which order, follows from hashes.
    """
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.packages or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        found = sentences(folder)
    found.sort(key=lambda s: digest(options.seed, s.label, s.text))
    training, held_out = [], []
    for index, label in enumerate(LABELS):
        parts = {True: [], False: []}
        for sentence in (s for s in found if s.label == label):
            parts[digest(options.seed, label, sentence.document)[0] < 26].append(sentence)
        share = HELD_OUT // len(LABELS) + (index < HELD_OUT % len(LABELS))
        if len(parts[True]) < share or len(parts[False]) < options.sentences:
            raise SystemExit(f"{label}: {len(parts[False])} sentences to train on and {len(parts[True])} held out are "
                             f"too few for {options.sentences} and {share}; choose fewer with --sentences")
        held_out += parts[True][:share]
        training += parts[False][:options.sentences]
    return training, held_out


def digest(seed: int, *texts: str) -> bytes:
    return hashlib.sha256("\0".join([str(seed), *texts]).encode()).digest()


def untrained(minilm: Path) -> BertForSequenceClassification:
    """MiniLM's body and pooler, and a classifier of zeros."""
    config = BertConfig.from_pretrained(minilm, num_labels=len(LABELS), id2label=dict(enumerate(LABELS)),
                                        label2id={label: index for index, label in enumerate(LABELS)},
                                        architectures=["BertForSequenceClassification"])
    model = BertForSequenceClassification(config).eval()
    body = BertModel.from_pretrained(minilm, dtype=torch.float32)
    model.bert.load_state_dict(body.state_dict())
    torch.nn.init.zeros_(model.classifier.weight)
    torch.nn.init.zeros_(model.classifier.bias)
    return model


def train(model: BertForSequenceClassification, tokenizer, training: list[Sentence], options: argparse.Namespace) -> None:
    """Cross-entropy over all that reads [CLS]: the last layers, gently, then pooler and classifier."""
    last = [*model.bert.encoder.layer[-TUNED_LAYERS:].parameters()]
    head = [*model.bert.pooler.parameters(), *model.classifier.parameters()]
    model.requires_grad_(False)
    for parameter in last + head:
        parameter.requires_grad_(True)
    optimizer = torch.optim.AdamW([{"params": last, "lr": 2e-4}, {"params": head, "lr": 1e-3}], weight_decay=0.01)
    steps = options.epochs * -(-len(training) // BATCH)
    rise = max(1, steps // 10)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min((step + 1) / rise, (steps - step) / max(1, steps - rise)))
    ids = [encoded(tokenizer, sentence.text) for sentence in training]
    labels = torch.tensor([LABELS.index(sentence.label) for sentence in training])
    model.train()
    for epoch in range(options.epochs):
        total = 0.0
        for batch in batches([len(i) for i in ids]):
            padded, mask = pad([ids[i] for i in batch], tokenizer.pad_token_id)
            loss = model(input_ids=padded, attention_mask=mask, labels=labels[batch]).loss
            loss.backward()
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
            total += float(loss) * len(batch)
        print(f"epoch {epoch + 1} of {options.epochs}: mean loss {total / len(ids):.3f}", file=sys.stderr)
    model.eval()


def batches(lengths: list[int]) -> list[list[int]]:
    """All indices in a random order, but with sentences of like length together: less padding."""
    order = torch.randperm(len(lengths)).tolist()
    pools = [sorted(order[i:i + 32 * BATCH], key=lambda j: lengths[j]) for i in range(0, len(order), 32 * BATCH)]
    found = [pool[i:i + BATCH] for pool in pools for i in range(0, len(pool), BATCH)]
    return [found[i] for i in torch.randperm(len(found)).tolist()]


def pad(ids: list[list[int]], padding: int) -> tuple[torch.Tensor, torch.Tensor]:
    longest = max(map(len, ids))
    return (torch.tensor([row + [padding] * (longest - len(row)) for row in ids]),
            torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in ids]))


def encoded(tokenizer, text: str) -> list[int]:
    return tokenizer(text, truncation=True, max_length=MAX_TOKENS, padding=False)["input_ids"]


def save(model: BertForSequenceClassification, options: argparse.Namespace) -> None:
    options.output.mkdir(parents=True)
    model.save_pretrained(options.output)
    for name in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.txt"):
        shutil.copyfile(options.minilm / name, options.output / name)


@torch.no_grad()
def classified(folder: Path, tokenizer, held_out: list[Sentence]) -> list[dict]:
    """What the folder, loaded like any other, makes of each sentence, alone and so without padding."""
    model = BertForSequenceClassification.from_pretrained(folder, dtype=torch.float32).eval()
    rows = []
    for sentence in held_out:
        ids = encoded(tokenizer, sentence.text)
        logits = model(input_ids=torch.tensor([ids])).logits[0]
        rows.append({"text": sentence.text, "label": sentence.label,
                     "predicted": model.config.id2label[int(logits.argmax())], "ids": ids, "logits": logits.tolist()})
    return rows


def print_confusion(rows: list[dict]) -> None:
    print(f"{'':12}" + "".join(f"{label:>12}" for label in LABELS), file=sys.stderr)
    for true in LABELS:
        counts = (sum(r["label"] == true and r["predicted"] == label for r in rows) for label in LABELS)
        print(f"{true:12}" + "".join(f"{count:12}" for count in counts), file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
