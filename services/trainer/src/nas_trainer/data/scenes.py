"""A small detection set of real images: scanned digits on photographs."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from nas_trainer.data.annotated import AnnotatedImage, Box

SCENE_SIZE = 128
NUM_SCENES = 700
_MAX_DIGITS = 4
# Side of a digit before its margins are cut, in parts of the scene.
_MIN_SIDE, _MAX_SIDE = 0.22, 0.44
_PLACES_TRIED = 20
_DIGITS_MAX = 16
# Ink starts here, of 1.
_INK = 0.25


class DigitScenes:
    """scikit-learn's digits pasted on crops of its two sample photographs, with a box around each.

    Digits of one part of the data occur in no other, so that validation is on digits never seen. A digit is
    light on a dark place and dark on a light one, and overlaps no other.

    Args:
      num_images: scenes, those for validation included.
      size: side of a scene in pixels.
      validation_fraction: part of the scenes, and of the digits, for validation.
      seed: scene `i` is a function of it and of `i`.
    """

    first_label = 1
    labels: tuple[int, ...] = ()

    def __init__(self, num_images: int, size: int, *, validation_fraction: float, seed: int) -> None:
        # Takes a second to import; other sources do without it.
        from sklearn.datasets import load_digits, load_sample_images

        digits = load_digits()
        self.class_names = tuple(str(name) for name in digits.target_names)
        self.description = "scikit-learn digits on scikit-learn's sample photographs"
        self._size = size
        self._seed = seed
        self._photographs = [Image.fromarray(photograph) for photograph in load_sample_images().images]
        self._scans: np.ndarray = digits.images
        self._classes: np.ndarray = digits.target
        order = np.random.default_rng(seed).permutation(len(self._scans))
        cut = round(len(order) * (1 - validation_fraction))
        self._pools = (order[:cut], order[cut:])
        num_validation = min(max(1, round(num_images * validation_fraction)), num_images - 1)
        self._num_train = num_images - num_validation
        self.train = tuple(range(self._num_train))
        self.validation = tuple(range(self._num_train, num_images))

    def read(self, index: int) -> AnnotatedImage:
        """Draws scene `index`."""
        rng = np.random.default_rng([self._seed, index])
        canvas = self._background(rng)
        boxes: list[tuple[int, int, int, int]] = []
        labels = []
        for _ in range(rng.integers(1, _MAX_DIGITS + 1)):
            digit = rng.choice(self._pools[index >= self._num_train])
            ink = self._ink(digit, rng)
            box = self._place(ink, boxes, rng)
            if box is None:
                continue
            boxes.append(box)
            labels.append(int(self._classes[digit]) + self.first_label)
            left, top, right, bottom = box
            ground = canvas[top:bottom, left:right]
            colour = rng.uniform(200, 255, 3) if ground.mean() < 128 else rng.uniform(0, 55, 3)
            canvas[top:bottom, left:right] = ground * (1 - ink) + colour * ink
        buffer = io.BytesIO()
        Image.fromarray(canvas.astype(np.uint8)).save(buffer, "PNG")
        return AnnotatedImage(
            buffer.getvalue(),
            self._size,
            self._size,
            tuple(Box(*(side / self._size for side in box)) for box in boxes),
            tuple(labels),
        )

    def _background(self, rng: np.random.Generator) -> np.ndarray:
        photograph = self._photographs[rng.integers(len(self._photographs))]
        side = int(rng.integers(150, 400))
        left = int(rng.integers(photograph.width - side))
        top = int(rng.integers(photograph.height - side))
        crop = photograph.crop((left, top, left + side, top + side))
        return np.asarray(crop.resize((self._size, self._size), Image.Resampling.BILINEAR), dtype=float)

    def _ink(self, digit: int, rng: np.random.Generator) -> np.ndarray:
        """How much of each pixel a digit covers, 0 to 1, without its margins: [height, width, 1]."""
        side = int(rng.uniform(_MIN_SIDE, _MAX_SIDE) * self._size)
        grey = Image.fromarray((self._scans[digit] * (255 / _DIGITS_MAX)).astype(np.uint8))
        ink = np.asarray(grey.resize((side, side), Image.Resampling.BICUBIC), dtype=float) / 255
        rows, columns = np.nonzero(ink > _INK)
        return ink[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1, None]

    def _place(
        self, ink: np.ndarray, taken: list[tuple[int, int, int, int]], rng: np.random.Generator
    ) -> tuple[int, int, int, int] | None:
        """Left, top, right and bottom of a free place; None when none was found."""
        height, width, _ = ink.shape
        for _ in range(_PLACES_TRIED):
            left = int(rng.integers(self._size - width + 1))
            top = int(rng.integers(self._size - height + 1))
            right, bottom = left + width, top + height
            if all(right <= l or r <= left or bottom <= t or b <= top for l, t, r, b in taken):  # noqa: E741
                return left, top, right, bottom
        return None
