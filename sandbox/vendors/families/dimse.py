"""The performer's DICOM node VENDOR, plain and with TLS: takes C-STORE, answers to the return AE by C-STORE after the association's end."""

import io
import ssl
from tempfile import NamedTemporaryFile
from typing import Any, Protocol

from pydicom.filereader import read_file_meta_info
from pydicom.uid import JPEG2000Lossless, JPEGLSLossless
from pynetdicom import AE, AllStoragePresentationContexts, _config, evt
from pynetdicom.presentation import build_context
from pynetdicom.sop_class import Verification

from sandbox.vendors.archive import Archive
from sandbox.vendors.world import World

_config.STORE_SEND_CHUNKED_DATASET = True
TITLE = "VENDOR"
SUCCESS, CANNOT_UNDERSTAND = 0x0000, 0xC000
SYNTAXES = ["1.2.840.10008.1.2.1", "1.2.840.10008.1.2", JPEG2000Lossless, JPEGLSLossless]


class Receiver(Protocol):
    """The performer as this node needs it."""

    archive: Archive
    pushes: list[Any]

    def arrived(self, study: str) -> None: ...


def dimse_start(world: World, receiver: Receiver) -> None:
    """Listens on two free ports of loopback, noted in `world`."""
    ours: set[str] = set()
    brought: dict[Any, set[str]] = {}  # association -> its studies, which are there when it has ended, whatever pauses it made

    def stored(event: evt.Event) -> int:
        content = io.BytesIO()
        ds = event.dataset
        ds.file_meta = event.file_meta
        ds.save_as(content, enforce_file_format=True)
        if receiver.archive.put(content.getvalue()):
            return CANNOT_UNDERSTAND
        ours.add(str(ds.StudyInstanceUID))
        brought.setdefault(event.assoc, set()).add(str(ds.StudyInstanceUID))
        return SUCCESS

    def ended(event: evt.Event) -> None:
        for study in brought.pop(event.assoc, set()):
            receiver.arrived(study)

    def answered(study: str, contents: list[bytes]) -> None:
        if study in ours and world.return_node is not None:
            for content in contents * (2 if world.faults.take("twice", study) else 1):
                _send(world.return_node, content)

    receiver.pushes.append(answered)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(world.folder / "server.pem", world.folder / "server.key")
    handlers = [(evt.EVT_C_STORE, stored), (evt.EVT_CONN_CLOSE, ended)]
    world.dimse_port = _listen(handlers, None)
    world.dimse_tls_port = _listen(handlers, context)


def _listen(handlers: list[Any], context: ssl.SSLContext | None) -> int:
    ae = AE(ae_title=TITLE)
    ae.require_called_aet = True
    ae.add_supported_context(Verification)
    for one in AllStoragePresentationContexts:
        ae.add_supported_context(one.abstract_syntax, SYNTAXES)
    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers, ssl_context=context)
    return int(server.server_address[1])


def _send(node: tuple[str, int, str], content: bytes) -> None:
    """The bytes of the data set as they are, whole or cut: pynetdicom reads the file's meta information only."""
    with NamedTemporaryFile(suffix=".dcm") as file:
        file.write(content)
        file.flush()
        meta = read_file_meta_info(file.name)
        ae = AE(ae_title=TITLE)
        ae.requested_contexts = [build_context(meta.MediaStorageSOPClassUID, [meta.TransferSyntaxUID])]
        association = ae.associate(node[0], node[1], ae_title=node[2])
        if association.is_established:
            association.send_c_store(file.name)
            association.release()
