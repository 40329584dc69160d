"""Train the classifier whose features `exflow.evaluation.metrics` compares 28x28 grey images by.

    python -m experiments.feature_classifier

takes the training images of MNIST and of Fashion-MNIST, 20 classes together, and writes, in half precision, the file
that comes with exflow (`exflow/bundled/extractors/classifier_28x28.npz`), and beside it a .json with its accuracies on
test images, command, seed and commit. Numbers made with another file have another name: it holds the file's digest.
"""

import argparse
import json
import shlex
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from tqdm import trange

from exflow.data import datasets
from exflow.evaluation import results
from exflow.evaluation.metrics import classifier
from exflow.models.registry import num_parameters
from exflow.program import as_program, reported
from exflow.typing import Params

DATA_SETS = ("mnist", "fashion_mnist")
SHIFT = 2  # pixels by which training images move, at most


def split_arrays(split: str, first: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Images of both data sets, and their labels 0..19; of each data set the first ones, or all (0)."""
    images, labels = [], []
    for number, name in enumerate(DATA_SETS):
        sets = datasets.load(name, image_size=28)[split]
        rows, of = sets.index[sets.exists], np.broadcast_to(sets.class_ids[:, None], sets.index.shape)[sets.exists]
        order = np.argsort(rows)[: first or None]
        images.append(sets.images[rows[order]])
        labels.append(10 * number + of[order])
    return np.concatenate(images), np.concatenate(labels)


def moved(key: jax.Array, x: jax.Array) -> jax.Array:
    """All images of a batch moved by one random vector; what enters is black."""
    down, right = jax.random.randint(key, (2,), 0, 2 * SHIFT + 1)
    padded = jnp.pad(x, ((0, 0), (SHIFT, SHIFT), (SHIFT, SHIFT), (0, 0)))
    return jax.lax.dynamic_slice(padded, (0, down, right, 0), x.shape)


def train(images: np.ndarray, labels: np.ndarray, epochs: int, batch: int, rate: float, seed: int) -> Params:
    """Minimise the cross-entropy by Adam, its rate falling to 0 like a cosine."""
    steps = len(images) // batch
    init_key, move_key = jax.random.split(jax.random.key(seed))
    params = classifier.FeatureClassifier().init(init_key, jnp.asarray(images[:1]))["params"]
    optimizer = optax.adam(optax.cosine_decay_schedule(rate, epochs * steps))

    @partial(jax.jit, donate_argnums=(0, 1))
    def step(params: Params, state: Any, key: jax.Array, x: jax.Array, label: jax.Array) -> tuple[Params, Any, Any]:
        def loss(params: Params) -> jax.Array:
            _, logits = classifier.features_and_logits(params, moved(key, x))
            return optax.softmax_cross_entropy_with_integer_labels(logits, label).mean()

        value, gradient = jax.value_and_grad(loss)(params)
        updates, state = optimizer.update(gradient, state, params)
        return optax.apply_updates(params, updates), state, value

    state, rng = optimizer.init(params), np.random.default_rng(seed)
    for epoch in range(epochs):
        order, total = rng.permutation(len(images)), 0.0
        for number in trange(steps, desc=f"epoch {epoch + 1}", disable=None, leave=False):
            rows = order[number * batch : (number + 1) * batch]
            key = jax.random.fold_in(move_key, epoch * steps + number)
            params, state, value = step(params, state, key, images[rows], labels[rows])
            total += float(value)
        print(f"epoch {epoch + 1} of {epochs}: cross-entropy {total / steps:.4f}", flush=True)
    return params


def accuracies(params: Params) -> dict[str, float]:
    """Share of test images of each data set whose class, of all 20, is found."""
    images, labels = split_arrays("test")
    found = [
        np.argmax(classifier.features_and_logits(params, images[start : start + 500])[1], axis=1)
        for start in range(0, len(images), 500)
    ]
    correct = np.concatenate(found) == labels
    return {name: float(correct[labels // 10 == number].mean()) for number, name in enumerate(DATA_SETS)}


def run(flags: argparse.Namespace) -> Path:
    """Train, write both files, print the accuracies of what was written."""
    results.check_writable(flags.out.parent, "--out")
    images, labels = split_arrays("train", flags.images)
    wall, cpu = time.perf_counter(), time.process_time()
    params = train(images, labels, flags.epochs, flags.batch, flags.rate, flags.seed)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    path = classifier.save(params, flags.out)
    shipped = classifier.load(path)
    content = {
        "command": shlex.join(["python", "-m", "experiments.feature_classifier", *sys.argv[1:]]),
        "seed": flags.seed,
        "epochs": flags.epochs,
        "train_images": len(images),
        "num_parameters": num_parameters(shipped),
        "test_accuracy": accuracies(shipped),
        "training_seconds": round(wall, 1),
        "training_cpu_seconds": round(cpu, 1),
        "sha256": classifier.digest(path),
        "hardware": results.hardware(),
        "versions": results.versions(),
        "commit": results.commit(),
    }
    target = path.with_suffix(".json")
    target.write_text(json.dumps(content, indent=1) + "\n")
    print(json.dumps(content["test_accuracy"]))
    return target


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--epochs", type=int, default=3, help="default: 3")
    parser.add_argument("--batch", type=int, default=128, help="images per step; default: 128")
    parser.add_argument("--rate", type=float, default=1e-3, help="learning rate of Adam at the start; default: 0.001")
    parser.add_argument("--seed", type=int, default=0, help="default: 0")
    parser.add_argument("--images", type=int, default=0, help="of each data set for training, 0: all; default: 0")
    parser.add_argument("--out", type=Path, default=classifier.FILE, help="the .npz file; default: that of exflow")
    flags = parser.parse_args()
    with reported():
        print(run(flags))


if __name__ == "__main__":
    as_program(main)
