"""The brain in a T1 volume by deepbet's two networks on ONNX Runtime; imported by quantify.brain where it is installed.

Steps after Fisch et al., Comput Biol Med 2024 (deepbet, MIT): a coarse mask of the whole, then a fine one of its box.
"""

from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from scipy import ndimage

from quantify.models import model_read

COARSE, FINE = (128, 128, 128), (256, 256, 256)
MARGIN = 0.1
PROFILE = 0.02  # of a plane: less mask than this is no part of the box
QUANTILES = (0.005, 0.995)
CORNERS = np.ones((3, 3, 3), dtype=bool)

Grey = NDArray[np.float32]
Mask = NDArray[np.bool_]


def brain_of(image: Grey, model: str) -> Mask:
    """The brain's voxels of `image`, whose axes point right, front and up (RAS). Raises ModelError; empty without a brain."""
    files = model_read(model)
    coarse = _sampled(image, COARSE)
    low, high = (float(value) for value in np.quantile(coarse, QUANTILES))
    mask = np.zeros(image.shape, dtype=bool)
    if high <= low:
        return mask
    first = _largest(_run(files[f"{model}-bbox_model.onnx"], _normal(coarse, low, high)) > 0.5)
    box = _box(first, image.shape)
    if box is None:
        return mask
    part = image[box]
    fine = _run(files[f"{model}-model.onnx"], _normal(_sampled(part, FINE), low, high))
    mask[box] = ndimage.binary_fill_holes(_largest(_sampled(fine, part.shape) > 0.5))
    return mask


def _run(network: bytes, image: Grey) -> Grey:
    options = onnxruntime.SessionOptions()
    # One thread and no choice of kernels by chance: the same pixels give the same bytes.
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.use_deterministic_compute = True
    session = onnxruntime.InferenceSession(network, options, providers=["CPUExecutionProvider"])
    mask: Grey = session.run(None, {"image": image[None, None]})[0][0, 1]
    return mask


def _sampled(image: NDArray[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    """The nearest voxel for each of the new grid's centres."""
    for axis, (old, new) in enumerate(zip(image.shape, shape, strict=True)):
        image = image.take(np.minimum(((np.arange(new) + 0.5) * (old / new)).astype(int), old - 1), axis=axis)
    return image


def _normal(image: Grey, low: float, high: float) -> Grey:
    share = np.clip((image - low) / (high - low), 0, 1)
    normal: Grey = (0.226 * (share - share.mean()) / max(float(share.std()), 1e-6) + 0.449).astype(np.float32)
    return normal


def _largest(mask: Mask) -> Mask:
    labels, count = ndimage.label(mask, structure=CORNERS)
    largest: Mask = labels == np.argmax(np.bincount(labels.ravel())[1:]) + 1 if count else mask
    return largest


def _box(mask: Mask, shape: tuple[int, ...]) -> tuple[slice, ...] | None:
    box = []
    for axis, size in enumerate(shape):
        used = np.flatnonzero(mask.mean(axis=tuple(other for other in range(3) if other != axis)) > PROFILE)
        if not used.size:
            return None
        scale = size / mask.shape[axis]
        centre = np.rint(scale * (used[-1] + 1 + used[0]) / 2)
        half = np.rint((1 + 2 * MARGIN) * scale * (used[-1] + 1 - used[0])) / 2
        box.append(slice(max(0, int(centre - half)), min(size, int(centre + half))))
    return tuple(box)
