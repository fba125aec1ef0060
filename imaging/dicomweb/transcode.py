"""A stored object in another transfer syntax, as a Part 10 file (PS3.18 8.7.3.5): only for who does not take the stored one."""

import io
import os

from pydicom import dcmread
from pydicom.dataset import FileDataset
from pydicom.encaps import encapsulate
from pydicom.pixels import iter_pixels
from pydicom.uid import UID

import imaging.decoding  # noqa: F401 chooses who decodes
from imaging.dicomweb.encoding import EncodingError, frame_encode
from imaging.dicomweb.syntaxes import ENCODERS, EXPLICIT, IMAGECODECS, PLAIN
from imaging.dimse.transcoding import TranscodingError, dataset_transcode
from imaging.part10 import file_meta_bytes

__all__ = ["TranscodingError", "object_transcode"]


def object_transcode(
    path: os.PathLike[str] | str, *, sop_class_uid: str, sop_instance_uid: str, transfer_syntax_uid: str
) -> bytes:
    """The whole file. Raises TranscodingError, whatever it was that could not be done."""
    try:
        plain = transfer_syntax_uid if transfer_syntax_uid in PLAIN else EXPLICIT
        meta = file_meta_bytes(sop_class_uid=sop_class_uid, sop_instance_uid=sop_instance_uid, transfer_syntax_uid=plain)
        content = meta + dataset_transcode(path, transfer_syntax_uid=plain)
        return content if transfer_syntax_uid == plain else _compressed(content, transfer_syntax_uid)
    except TranscodingError:
        raise
    except EncodingError as error:
        raise TranscodingError(str(error)) from None
    except Exception as error:  # noqa: BLE001 codecs raise whatever they like, and their texts quote the object
        raise TranscodingError(f"the object cannot be had in this transfer syntax ({type(error).__name__})") from None


def _compressed(content: bytes, transfer_syntax_uid: str) -> bytes:
    dataset = dcmread(io.BytesIO(content))
    if "PixelData" not in dataset:
        raise TranscodingError("the object has no pixels to compress")
    # the object stays the same one: lossless syntaxes only
    if ENCODERS[transfer_syntax_uid] == IMAGECODECS:
        _encapsulated(dataset, transfer_syntax_uid)
    else:
        dataset.compress(UID(transfer_syntax_uid), encoding_plugin=ENCODERS[transfer_syntax_uid], generate_instance_uid=False)
    target = io.BytesIO()
    dataset.save_as(target, enforce_file_format=True)
    return target.getvalue()


def _encapsulated(dataset: FileDataset, transfer_syntax_uid: str) -> None:
    """What `Dataset.compress` does, one frame after another. Colour by plane becomes colour by pixel (PS3.5 8.2)."""
    options = {
        "rows": dataset.Rows, "columns": dataset.Columns, "samples_per_pixel": dataset.SamplesPerPixel,
        "bits_allocated": dataset.BitsAllocated, "bits_stored": dataset.BitsStored,
        "pixel_representation": dataset.PixelRepresentation, "photometric_interpretation": dataset.PhotometricInterpretation,
    }  # fmt: skip
    frames = [
        frame_encode(frame.tobytes(), syntax=transfer_syntax_uid, options=options) for frame in iter_pixels(dataset, raw=True)
    ]
    dataset.PixelData = encapsulate(frames)
    dataset["PixelData"].VR = "OB"
    dataset["PixelData"].is_undefined_length = True
    if dataset.SamplesPerPixel > 1:
        dataset.PlanarConfiguration = 0
    dataset.file_meta.TransferSyntaxUID = UID(transfer_syntax_uid)
