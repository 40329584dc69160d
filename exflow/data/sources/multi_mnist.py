"""Numbers of two or three MNIST digits: DoubleMNIST and TripleMNIST, for transfer from other data sets."""

import numpy as np
from jaxtyping import Int, UInt8

from exflow.data.building.options import check_at_least, check_choice
from exflow.data.labelled import load_labelled
from exflow.data.registry import TEST, TRAIN, VALIDATION, LabelledImages, register
from exflow.data.resize import check as check_resize
from exflow.data.resize import resize

SIZE = 28  # of a digit
CANVAS = {2: 64, 3: 84}  # height and width by number of digits; every digit has its own column of the canvas
SPLIT_SEED = 123  # of the published division of the numbers


def split_of_number(digits: int) -> UInt8[np.ndarray, " num_classes"]:
    """Published division of the numbers 0, 1, ...: 64 % train, 16 % validation, 20 % test.

    A permutation by `RandomState(123)`, whose stream NumPy keeps the same for ever.
    """
    num_classes = 10**digits
    order = np.random.RandomState(SPLIT_SEED).permutation(num_classes)
    split = np.full(num_classes, TEST, np.uint8)
    split[order[: num_classes * 64 // 100]] = TRAIN
    split[order[num_classes * 64 // 100 : num_classes * 80 // 100]] = VALIDATION
    return split


def place(
    rng: np.random.Generator, drawings: UInt8[np.ndarray, "num digits 28 28"]
) -> UInt8[np.ndarray, "num canvas canvas 1"]:
    """Digits side by side, each at a random place of its own column of the canvas."""
    num, digits = drawings.shape[:2]
    canvas = CANVAS[digits]
    column = canvas // digits
    out = np.zeros((num, canvas, canvas, 1), np.uint8)
    number, pixel = np.arange(num)[:, None, None], np.arange(SIZE)
    for digit in range(digits):
        top = rng.integers(canvas - SIZE, size=(num, 1, 1))
        left = digit * column + rng.integers(max(column - SIZE, 1), size=(num, 1, 1))
        out[number, top + pixel[:, None], left + pixel, 0] = drawings[:, digit]
    return out


@register("multi_mnist", ink="bright")
def multi_mnist(
    image_size: int = 28, digits: int = 2, per_class: int = 1000, transposed: str = "no", seed: int = 0
) -> LabelledImages:
    """Numbers of two (00 to 99) or three (000 to 999) MNIST digits; train, validation and test are different numbers.

    DoubleMNIST has 64 / 16 / 20 classes, TripleMNIST 640 / 160 / 200, divided as published. An image shows the digits
    of its number, each a random one of all 70,000 MNIST images, at random heights on a canvas of 64x64 or 84x84, which
    Pillow's box filter brings to `image_size`. So a drawing of a digit can occur in every split. The images are drawn
    here: the layout is that of the published files, the pixels are not.

    Args:
      image_size: Height and width.
      digits: 2 or 3.
      per_class: Images per class.
      transposed: "yes" exchanges rows and columns, as the original loader of the set VAEs did by mistake; or "no".
      seed: Of all draws, at least 0. A class is a function of the seed, its number and the options.

    Raises:
      UserError: If an option is not valid; as for `mnist`.

    Source: layout and division of Sun 2019, "Multi-digit MNIST for few-shot learning", GitHub
    `shaohua0116/MultiDigitMNIST`; images by LeCun, Cortes and Burges, commonly given as CC BY-SA 3.0.
    """
    name = "multi_mnist"
    check_resize(image_size, "box")
    check_choice(name, "digits", digits, tuple(CANVAS))
    check_choice(name, "transposed", transposed, ("yes", "no"))
    check_at_least(name, 1, per_class=per_class)
    check_at_least(name, 0, seed=seed)
    mnist = load_labelled("mnist")
    rows_of_digit = [np.flatnonzero(mnist.labels == digit) for digit in range(10)]

    def draw_class(number: int) -> UInt8[np.ndarray, "per_class image_size image_size 1"]:
        rng = np.random.default_rng([seed, digits, number])
        written: list[Int[np.ndarray, " per_class"]] = [
            rng.choice(rows_of_digit[int(digit)], per_class) for digit in str(number).zfill(digits)
        ]
        return resize(place(rng, mnist.images[np.stack(written, axis=1), :, :, 0]), image_size, "box")

    num_classes = 10**digits
    images = np.empty((num_classes * per_class, image_size, image_size, 1), np.uint8)
    for number in range(num_classes):
        images[number * per_class : (number + 1) * per_class] = draw_class(number)
    if transposed == "yes":
        images = np.ascontiguousarray(images.swapaxes(1, 2))
    labels = np.repeat(np.arange(num_classes, dtype=np.int32), per_class)
    return LabelledImages(images, labels, split_of_number(digits)[labels])
