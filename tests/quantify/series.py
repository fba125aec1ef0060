"""Changing drawn or real instances for one test: attributes, encodings, order."""

import io
from collections.abc import Callable, Sequence
from typing import Any

import pydicom
from pydicom.dataset import Dataset


def opened(content: bytes) -> Dataset:
    """One instance."""
    return pydicom.dcmread(io.BytesIO(content))


def written(dataset: Dataset) -> bytes:
    """Its Part 10 bytes."""
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def changed(parts: Sequence[bytes], change: Callable[[int, Dataset], None]) -> list[bytes]:
    """Each instance after `change(index, dataset)`."""
    results = []
    for index, content in enumerate(parts):
        dataset = opened(content)
        change(index, dataset)
        results.append(written(dataset))
    return results


def with_values(parts: Sequence[bytes], **values: Any) -> list[bytes]:
    """Every instance with these attributes; None removes one."""

    def change(_: int, dataset: Dataset) -> None:
        for keyword, value in values.items():
            if value is None:
                delattr(dataset, keyword)
            else:
                setattr(dataset, keyword, value)

    return changed(parts, change)
