"""A trainer of one's own, without TensorFlow: handwritten digits, a network of scikit-learn.

A program runner starts it for every trial and adds the arguments. With `--export=True` it also
leaves a SavedModel, whose latency can be measured.
"""

import argparse

import numpy as np
from own_space import search_space
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier

from nas_client import trial


def main() -> None:
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--export", choices=("True", "False"), default="False")
    flags, _ = parser.parse_known_args()

    params = trial.materialize(search_space)
    images, labels = load_digits(return_X_y=True)
    data = train_test_split(images / 16.0, labels, test_size=0.25, random_state=1, stratify=labels)
    train_images, test_images, train_labels, test_labels = data
    network = MLPClassifier(
        hidden_layer_sizes=(params.hidden_units,) * params.hidden_layers,
        activation=params.activation,
        learning_rate_init=params.learning_rate,
        random_state=1,
    )
    for epoch in range(1, flags.epochs + 1):
        network.partial_fit(train_images, train_labels, classes=np.arange(10))
        accuracy = network.score(test_images, test_labels)
        trial.report(accuracy, step=epoch, other_metrics={"loss": network.loss_})
    if flags.export == "True":
        export(network, str(trial.model_dir()))


def export(network: MLPClassifier, directory: str) -> None:
    import tensorflow as tf

    layers = list(zip(network.coefs_, network.intercepts_, strict=True))
    activations = [{"relu": tf.nn.relu, "tanh": tf.nn.tanh}[network.activation]] * len(layers)
    activations[-1] = tf.nn.softmax

    @tf.function(input_signature=[tf.TensorSpec([None, 64], tf.float32)])
    def infer(inputs):
        for (weights, bias), activation in zip(layers, activations, strict=True):
            inputs = activation(inputs @ weights.astype("float32") + bias.astype("float32"))
        return inputs

    tf.saved_model.save(tf.Module(), directory, signatures=infer)


if __name__ == "__main__":
    main()
