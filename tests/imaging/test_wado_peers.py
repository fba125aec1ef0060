"""`dicomweb-client` reads what we give: another implementation, strict about media types, over real HTTP."""

import io
import os
from collections.abc import Iterator
from typing import Any

import pytest
from pydicom import dcmread

from tests.browser.conftest import portal_serve
from tests.dicom_files import part10, series_of
from tests.imaging.test_wado import sent, with_uids

pytestmark = [pytest.mark.database, pytest.mark.peers]
J2K = "1.2.840.10008.1.2.4.90"


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with portal_serve() as found:
        yield found


def peer(address: str, hospital: Any) -> Any:
    try:
        from dicomweb_client.api import DICOMwebClient
    except ImportError:
        if os.environ.get("REQUIRE_PEERS") == "1":
            pytest.fail("dicomweb-client is missing and REQUIRE_PEERS=1")
        pytest.skip("dicomweb-client is not here: pip install dicomweb-client")
    return DICOMwebClient(f"{address}/t/{hospital.slug}/dicomweb", headers=hospital.auth)


def uids(ds: Any) -> tuple[str, str, str]:
    return ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.SOPInstanceUID


def test_objects_and_metadata(client, mercy, address) -> None:
    """Clients: `dicomweb-client` - studies, series, instances and their metadata."""
    reader = peer(address, mercy)
    slices = series_of(3)
    sent(client, mercy, *(part10(ds) for ds in slices))
    study, series, instance = uids(slices[0])
    assert len(reader.retrieve_study(study)) == len(reader.retrieve_series(study, series)) == 3
    assert reader.retrieve_instance(study, series, instance) == slices[0]
    assert len(list(reader.iter_study(study))) == 3
    assert len(reader.retrieve_study_metadata(study)) == len(reader.retrieve_series_metadata(study, series)) == 3
    assert reader.retrieve_instance_metadata(study, series, instance)["00080018"]["Value"] == [instance]


def test_frames_and_bulk_data(client, mercy, address) -> None:
    """Frames decoded and as stored, by every way of asking that the client knows; bulk data and a range of it."""
    reader = peer(address, mercy)
    cine, ct = with_uids("real/us-cine-30f.dcm"), with_uids("syntax/ct-j2k-lossless.dcm")
    sent(client, mercy, cine, ct)
    ds = dcmread(io.BytesIO(cine))
    assert [len(one) for one in reader.retrieve_instance_frames(*uids(ds), [1, 30])] == [240 * 320 * 3] * 2
    for kinds in (("image/jpeg",), (("image/jpeg", "1.2.840.10008.1.2.4.50"),), (("application/octet-stream", "*"),)):
        assert [bytes(one[:2]) for one in reader.retrieve_instance_frames(*uids(ds), [1, 2], media_types=kinds)] == [b"\xff\xd8"] * 2
    ds = dcmread(io.BytesIO(ct))
    frame, = reader.retrieve_instance_frames(*uids(ds), [1], media_types=(("image/jp2", J2K),))
    assert bytes(frame[:4]) == b"\xff\x4f\xff\x51"
    uri = reader.retrieve_instance_metadata(*uids(ds))["7FE00010"]["BulkDataURI"]
    assert b"".join(map(bytes, reader.retrieve_bulkdata(address + uri))) == ds.pixel_array.tobytes()
