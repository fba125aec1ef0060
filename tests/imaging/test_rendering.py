"""What a radiologist would see, checked on real files pixel by pixel where the standard says what it must be."""

import io
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.pixels import pixel_array
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian, JPEG2000Lossless, RLELossless

from imaging.rendering import FrameMissingError, NoPixelsError, RenderError, slice_render
from tests.imaging.test_dimse_peers import real_file


def seen(path: Path, **options: object) -> np.ndarray:
    image = Image.open(io.BytesIO(slice_render(path, **options)))
    assert image.format == "PNG"
    return np.asarray(image)


def gray_file(path: Path, pixels: np.ndarray, **attributes: object) -> Path:
    """A minimal grayscale object with these stored values."""
    ds = Dataset()
    ds.SOPClassUID, ds.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.7", "1.2.3"
    ds.Rows, ds.Columns, ds.SamplesPerPixel, ds.PhotometricInterpretation = *pixels.shape[-2:], 1, "MONOCHROME2"
    ds.BitsAllocated = ds.BitsStored = pixels.dtype.itemsize * 8
    ds.HighBit, ds.PixelRepresentation = ds.BitsStored - 1, int(pixels.dtype.kind == "i")
    ds.PixelData = pixels.tobytes()
    if pixels.ndim == 3:
        ds.NumberOfFrames = len(pixels)
    for keyword, value in attributes.items():
        setattr(ds, keyword, value)
    ds["PixelData"].VR = "OW"
    return written(path, ds)


def written(path: Path, ds: Dataset, syntax: str = ExplicitVRLittleEndian) -> Path:
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = syntax
    ds.save_as(path, enforce_file_format=True)
    return path


RAMP = np.array([[-1000, -60, -59, 40, 139, 140, 1000]], np.int16)


class TestGrayscale:
    @pytest.mark.parametrize(
        ("function", "expected"),
        [
            (None, [0, 0, 1, 128, 255, 255, 255]),
            ("LINEAR", [0, 0, 1, 128, 255, 255, 255]),
            ("LINEAR_EXACT", [0, 0, 1, 128, 254, 255, 255]),
            ("SIGMOID", [0, 30, 31, 128, 223, 225, 255]),
        ],
    )
    def test_follows_the_windows_function(self, function: str | None, expected: list[int], tmp_path: Path) -> None:
        """PS3.3 C.11.2.1.2 and C.11.2.1.3, center 40 and width 200, values computed by hand."""
        attributes = {"WindowCenter": 40, "WindowWidth": 200} | ({"VOILUTFunction": function} if function else {})
        found = seen(gray_file(tmp_path / "a.dcm", RAMP, **attributes))[0].astype(int)
        assert np.abs(found - expected).max() <= 1

    def test_rescales_before_it_windows(self, tmp_path: Path) -> None:
        """A window is in Hounsfield units, the stored values are not (PS3.3 C.11.1)."""
        stored = ((RAMP + 1024) * 2).astype(np.int16)
        path = gray_file(
            tmp_path / "a.dcm", stored, RescaleSlope="0.5", RescaleIntercept="-1024", WindowCenter=40, WindowWidth=200,
        )
        plain = gray_file(tmp_path / "b.dcm", RAMP, WindowCenter=40, WindowWidth=200)
        assert (seen(path) == seen(plain)).all()

    def test_a_window_asked_for_wins_over_the_headers(self) -> None:
        """PS3.18 8.3.5.1.4: the lung window shows lung where the header's soft tissue window is black."""
        path = real_file("syntax/ct-implicit-le.dcm")
        soft, lung = seen(path), seen(path, window=(-600, 1500))
        hounsfield = pixel_array(path).astype(np.float32) - 1024
        air = (hounsfield > -950) & (hounsfield < -700)
        assert air.any()
        assert soft[air].max() == 0
        assert lung[air].min() > 40

    def test_shows_bones_white_in_monochrome1(self) -> None:
        """MANIFEST, cxr-mono1-440: "rendered output must be inverted (bones white)"."""
        path = real_file("real/cxr-mono1-440.dcm")
        stored, shown = pixel_array(path), seen(path)
        assert shown[stored == stored.max()].max() < 30
        assert np.corrcoef(stored.ravel(), shown.ravel())[0, 1] < -0.9

    def test_stretches_without_a_window_and_leaves_padding_out(self, tmp_path: Path) -> None:
        """No window: darkest to brightest, where padding around the image is no value (PS3.3 C.7.5.1.1.2)."""
        pixels = np.array([[-2000, 100, 150, 200]], np.int16)
        path = gray_file(tmp_path / "a.dcm", pixels, PixelPaddingValue=-2000)
        assert seen(path).tolist() == [[0, 0, 128, 255]]
        flat = gray_file(tmp_path / "b.dcm", np.full((2, 2), 7, np.int16))
        assert seen(flat).tolist() == [[0, 0], [0, 0]]

    def test_uses_a_voi_table(self, tmp_path: Path) -> None:
        """PS3.3 C.11.2.1.1: a VOI LUT maps stored values where no window is given."""
        table = Dataset()
        table.LUTDescriptor, table.LUTData = [4, 0, 16], [0, 65535, 0, 32768]
        table["LUTDescriptor"].VR = table["LUTData"].VR = "US"
        path = gray_file(tmp_path / "a.dcm", np.array([[0, 1, 2, 3]], np.uint16), VOILUTSequence=Sequence([table]))
        assert seen(path).tolist() == [[0, 255, 0, 128]]

    def test_takes_a_frames_own_window_and_rescale(self, tmp_path: Path) -> None:
        """Enhanced objects say it per frame (PS3.3 C.7.6.16.2.9, .10): each frame by its own."""
        frames = []
        for center in (50, 150):
            voi, group = Dataset(), Dataset()
            voi.WindowCenter, voi.WindowWidth = center, 1
            group.FrameVOILUTSequence = Sequence([voi])
            frames.append(group)
        pixels = np.array([[[0, 100, 200]], [[0, 100, 200]]], np.uint16)
        path = gray_file(tmp_path / "a.dcm", pixels, PerFrameFunctionalGroupsSequence=Sequence(frames))
        assert seen(path, frame=1).tolist() == [[0, 255, 255]]
        assert seen(path, frame=2).tolist() == [[0, 0, 255]]

    @pytest.mark.parametrize("name", ["big-endian", "deflated", "jpegls", "j2k-lossless", "rle"])
    def test_is_the_same_in_every_syntax(self, name: str) -> None:
        """MANIFEST: "all decode to the same pixels", so all render to the same image."""
        assert (seen(real_file(f"syntax/ct-{name}.dcm")) == seen(real_file("syntax/ct-implicit-le.dcm"))).all()

    def test_is_neither_black_nor_inverted_when_the_code_stream_disagrees(self) -> None:
        """MANIFEST, j2k-pixelrep-mismatch: "rendered not black/inverted": air dark, bone bright."""
        shown = seen(real_file("broken/j2k-pixelrep-mismatch.dcm"))
        assert shown[0, 0] == 0
        assert (shown == 255).mean() > 0.02
        assert 20 < shown.mean() < 120


class TestColour:
    def test_of_a_photograph_is_its_colour(self) -> None:
        """fundus: JPEG baseline YBR decodes to the red-orange of a retina, not to its YCbCr planes."""
        red, green, blue = seen(real_file("real/fundus-op-retina.dcm"))[600:800, 600:800].reshape(-1, 3).mean(axis=0)
        assert red > green + 40 > blue

    def test_of_a_palette_is_applied(self) -> None:
        """MANIFEST, us-palette: "rendered must apply the palette": the banner is blue, the sector is gray."""
        shown = seen(real_file("real/us-palette.dcm")).astype(int)
        assert shown.shape == (350, 800, 3)
        banner = shown[5:15, 300:500].reshape(-1, 3).mean(axis=0)
        assert banner[2] > banner[0] + 20

    def test_of_ybr_cine_is_converted_frame_by_frame(self) -> None:
        """MANIFEST, us-cine-30f: "frames 1..30 retrievable, 31 -> 404"; gray tissue is gray, not green."""
        path = real_file("real/us-cine-30f.dcm")
        first, last = seen(path, frame=1), seen(path, frame=30)
        assert first.shape == (240, 320, 3)
        assert (first != last).any()
        assert np.abs(first[..., 0].astype(int) - first[..., 1]).mean() < 3
        with pytest.raises(FrameMissingError):
            slice_render(path, frame=31)
        with pytest.raises(FrameMissingError):
            slice_render(path, frame=0)

    def test_frames_in_fragments_without_offsets_come_out_whole(self) -> None:
        """MANIFEST, ect-2f-fragments-nobot: "frame 1 and 2 must come out whole"."""
        path = real_file("syntax/ect-2f-fragments-nobot.dcm")
        frames = [seen(path, frame=number) for number in (1, 2)]
        assert all(frame.shape == (512, 512) and frame[-100:].max() > 50 for frame in frames)
        assert (frames[0] != frames[1]).any()


class TestRefusals:
    @pytest.mark.parametrize(
        "name", ["real/ecg-12lead.dcm", "objects/rtplan.dcm", "objects/sr-tid1500.dcm", "broken/xss-patient-name.dcm"],
    )
    def test_objects_without_pixels_say_so(self, name: str) -> None:
        """MANIFEST, ecg-12lead: "frames/rendered -> 404/406, never 500"."""
        with pytest.raises(NoPixelsError):
            slice_render(real_file(name))

    @pytest.mark.parametrize(
        "name",
        [
            "broken/mr-truncated.dcm", "broken/bad-vr.dcm", "broken/deep-nesting.dcm", "broken/no-meta.dcm",
            "syntax/seg-deflated-frame.dcm",
        ],
    )
    def test_broken_objects_are_a_render_error(self, name: str) -> None:
        """"never a 500": whatever is broken, one error with a reason that holds no value of the object."""
        with pytest.raises(RenderError) as raised:
            slice_render(real_file(name))
        assert raised.value.reason
        assert "1A" not in raised.value.reason

    def test_an_allocation_bomb_is_refused_before_it_allocates(self) -> None:
        """MANIFEST, oob-65535: "rendered -> 4xx without allocating 8 GB"."""
        path = real_file("broken/oob-65535.dcm")
        tracemalloc.start()
        try:
            with pytest.raises(RenderError, match="65535"):
                slice_render(path)
            with pytest.raises(RenderError, match="fewer pixels"):
                slice_render(path, max_pixels=1 << 33)
            assert tracemalloc.get_traced_memory()[1] < 20 << 20
        finally:
            tracemalloc.stop()

    def test_a_code_stream_may_not_claim_more_than_the_header(self, tmp_path: Path) -> None:
        """The decoder allocates what the code stream says: a small header in front of a huge stream is refused."""
        original = pydicom.dcmread(real_file("syntax/ct-j2k-lossless.dcm"))
        stream = bytearray(pydicom.encaps.get_frame(original.PixelData, 0, number_of_frames=1))
        at = stream.index(b"\xff\x4f\xff\x51") + 8
        stream[at : at + 8] = b"\0\1\0\0\0\1\0\0"
        original.PixelData = encapsulate([bytes(stream)])
        with pytest.raises(RenderError, match="claims more pixels"):
            slice_render(written(tmp_path / "j2k.dcm", original, JPEG2000Lossless))
        jpeg = pydicom.dcmread(real_file("real/mammo-ge-mlo.dcm"))
        stream = bytearray(pydicom.encaps.get_frame(jpeg.PixelData, 0, number_of_frames=1))
        at = stream.index(b"\xff\xc3") + 5
        stream[at : at + 4] = b"\xff\xff\xff\xff"
        jpeg.PixelData = encapsulate([bytes(stream)])
        with pytest.raises(RenderError, match="claims more pixels"):
            slice_render(written(tmp_path / "jpeg.dcm", jpeg, jpeg.file_meta.TransferSyntaxUID))

    def test_a_deflate_bomb_is_refused(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """"bounded inflate": pixels of a deflated object that inflate beyond the cap are not inflated."""
        monkeypatch.setattr("imaging.rendering.INFLATED_CAP", 1 << 20)
        plain = gray_file(tmp_path / "a.dcm", np.zeros((1024, 1024), np.uint16))
        head = plain.read_bytes()
        cut = head.index(b"\x08\0\x16\0")
        meta = head[:cut].replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.1.99")
        meta = meta.replace(b"UI\x14\x001.2.840.10008.1.2.1.99", b"UI\x16\x001.2.840.10008.1.2.1.99")
        packer = zlib.compressobj(wbits=-15)
        path = tmp_path / "b.dcm"
        path.write_bytes(meta + packer.compress(head[cut:]) + packer.flush())
        with pytest.raises(RenderError, match="inflates to more"):
            slice_render(path)

    def test_garbage_in_a_frame_is_a_render_error(self, tmp_path: Path) -> None:
        """Decoders raise whatever they like: all of it becomes one error."""
        ds = pydicom.dcmread(real_file("syntax/ct-rle.dcm"))
        ds.PixelData = encapsulate([b"\x01\0\0\0\x40\0\0\0" + bytes(56) + b"\x81\x00" * 10])
        with pytest.raises(RenderError):
            slice_render(written(tmp_path / "a.dcm", ds, RLELossless))
