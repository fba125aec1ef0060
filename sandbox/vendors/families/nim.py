"""A VISTA-3D NIM at /nim: fetches one NIfTI volume by its address, from allowed hosts only, and answers with a label map in a zip.

It knows one structure, the lung, which MedHub Quantify really finds in the pixels; of what it does not find nothing is labelled.
"""

import base64
import gzip
import io
import time
import zipfile
import zlib
from typing import Any
from urllib.parse import urlsplit

import httpx
import nibabel
import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

from sandbox.http import Refusal, Reply, Request, Router, json_reply
from sandbox.vendors.computing import MAKER
from sandbox.vendors.work import world_context
from sandbox.vendors.world import World

VERSION = "0.0.1"
CLASSES = 132
LABELS = {
    "liver": 1, "spleen": 3, "pancreas": 4, "right kidney": 5, "aorta": 6, "inferior vena cava": 7, "gallbladder": 10, "stomach": 12,
    "left kidney": 14, "bladder": 15, "lung": 20, "heart": 115,
}  # fmt: skip
LUNG = 20
MAX_VOLUME = 1 << 30


class Nim:
    """Health, info and inference, as NVIDIA documents them."""

    def __init__(self, router: Router, world: World) -> None:
        self._world = world
        router.add("GET", "/nim/v1/health/live", lambda _: json_reply({"status": "live"}))
        router.add("GET", "/nim/v1/health/ready", lambda _: json_reply({"status": "ready"}))
        router.add("GET", "/nim/v1/vista3d/info", lambda _: json_reply({"version": VERSION, "manufacturer": MAKER, "labels": LABELS}))
        router.add("POST", "/nim/v1/vista3d/inference", self._inference)

    def _inference(self, request: Request) -> Reply:
        address, classes = _read(request.json)
        image = self._fetched(address)
        if self._world.faults.take("slow"):
            time.sleep(2)
        labels = self._labelled(image) if LUNG in classes else np.zeros(image.shape, np.uint8)
        return Reply(200, self._packed(image, labels), {"Content-Type": "application/zip"})

    def _fetched(self, address: str) -> nibabel.Nifti1Image:
        """HEAD first, then GET; the hub may ask for nothing but the address."""
        if urlsplit(address).netloc not in self._world.nim_hosts:
            raise Refusal(400, "images of that host are not allowed")
        with httpx.Client(verify=world_context(self._world), timeout=30, trust_env=False) as client:
            told = client.head(address)
            answer = client.get(address)
        if told.status_code != 200 or answer.status_code != 200 or len(answer.content) > MAX_VOLUME:
            raise Refusal(422, "the image cannot be fetched")
        return nibabel.Nifti1Image.from_bytes(gzip.decompress(answer.content))

    def _labelled(self, image: nibabel.Nifti1Image) -> NDArray[np.uint8]:
        """(column, row, slice): the lung's number where Quantify found lungs, nothing where it found none."""
        labels = np.zeros(image.shape, np.uint8)
        slices = _slices(image)
        mask = self._world.quantify.compute([content for _, content in slices], "CT", is_masked=True).mask
        if mask is None:
            return labels
        shape = len(mask["sop_uids"]), mask["rows"], mask["columns"]
        bits = np.unpackbits(np.frombuffer(zlib.decompress(base64.b64decode(mask["bits"])), np.uint8), count=int(np.prod(shape)))
        places = {uid: place for place, (uid, _) in enumerate(slices)}
        for uid, found in zip(mask["sop_uids"], bits.reshape(shape), strict=True):
            labels[:, :, places[uid]] = found.T * LUNG
        return labels

    def _packed(self, image: nibabel.Nifti1Image, labels: NDArray[Any]) -> bytes:
        take, affine = self._world.faults.take, image.affine.copy()
        if take("no-zip"):
            return b"a label map, but no archive"
        if take("shape"):
            labels = labels[:, :, 1:]
        if take("affine"):
            affine[0, 3] += 3
        if take("label"):
            labels[0, 0, 0] = 23  # the model's number of a tumour
        if take("float"):
            labels = labels.astype(np.float32)
        content = gzip.compress(bytes(64 << 20) if take("bomb") else nibabel.Nifti1Image(labels, affine).to_bytes(), 1)
        if take("cut"):
            content = content[: len(content) // 2]
        target = io.BytesIO()
        with zipfile.ZipFile(target, "w") as archive:
            archive.writestr("segmentation.nii.gz", content)
        return target.getvalue()


def _read(body: Any) -> tuple[str, frozenset[int]]:
    """The image's address and the classes; a Refusal of 422 for prompts that the model does not know."""
    if not isinstance(body, dict) or not str(body.get("image", "")).startswith(("https://", "http://127.0.0.1:")):
        raise Refusal(422, "image: an address is needed")
    prompts = body.get("prompts") or {}
    if not isinstance(prompts, dict) or set(prompts) - {"classes", "points"}:
        raise Refusal(422, "prompts: classes or points")
    classes = prompts.get("classes")
    if not isinstance(classes, list) or not classes:
        raise Refusal(422, "classes: a list of names or numbers")
    numbers = {LABELS.get(one, 0) if isinstance(one, str) else one for one in classes}
    if not all(isinstance(one, int) and 0 < one <= CLASSES for one in numbers):
        raise Refusal(422, "classes: no such class")
    return str(body["image"]), frozenset(numbers)


def _slices(image: nibabel.Nifti1Image) -> list[tuple[str, bytes]]:
    """The volume as CT slices that Quantify reads: (SOP Instance UID, Part 10 file), nobody's."""
    lps = image.affine[:3] * np.array([[-1.0], [-1.0], [1.0]])
    sizes = np.linalg.norm(lps[:, :3], axis=0)
    common = Dataset()
    common.SOPClassUID, common.Modality, common.ImageType = CTImageStorage, "CT", ["DERIVED", "SECONDARY", "AXIAL"]
    common.StudyInstanceUID, common.SeriesInstanceUID = generate_uid(), generate_uid()
    common.BodyPartExamined, common.PatientID, common.PatientName = "CHEST", "", ""
    common.ImageOrientationPatient = [f"{value:.10f}"[:16] for value in (*(lps[:, 0] / sizes[0]), *(lps[:, 1] / sizes[1]))]
    common.PixelSpacing = [f"{sizes[1]:.8f}"[:16], f"{sizes[0]:.8f}"[:16]]
    common.Columns, common.Rows = image.shape[:2]
    common.SamplesPerPixel, common.PhotometricInterpretation, common.PixelRepresentation = 1, "MONOCHROME2", 1
    common.BitsAllocated, common.BitsStored, common.HighBit = 16, 16, 15
    common.RescaleSlope, common.RescaleIntercept = 1, 0
    data = np.rint(np.asanyarray(image.dataobj)).astype("<i2")
    return [_slice(common, data[:, :, place].T, lps[:, 3] + place * lps[:, 2]) for place in range(image.shape[2])]


def _slice(common: Dataset, pixels: NDArray[Any], position: NDArray[Any]) -> tuple[str, bytes]:
    ds = Dataset()
    ds.update(common)
    ds.SOPInstanceUID = generate_uid()
    ds.ImagePositionPatient = [f"{value:.6f}"[:16] for value in position]
    ds.PixelData = np.ascontiguousarray(pixels).tobytes()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.file_meta.MediaStorageSOPClassUID, ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPClassUID, ds.SOPInstanceUID
    target = io.BytesIO()
    ds.save_as(target, enforce_file_format=True)
    return str(ds.SOPInstanceUID), target.getvalue()


def mount(router: Router, world: World) -> None:
    Nim(router, world)
