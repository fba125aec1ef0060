"""Wire family "DIMSE": C-STORE out to the vendor's node; the answer comes as C-STORE to our return AE, so there is nothing to poll."""

from collections.abc import Mapping

from ai.contract import Handle, Peer, PlatformError, Ways


def peer_of(settings: Mapping[str, str]) -> Peer:
    """The vendor's application entity from a connection's settings. Raises PlatformError."""
    port = settings.get("port", "")
    if not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        raise PlatformError("the port is no number from 1 to 65535", is_permanent=True)
    if not all(settings.get(name) for name in ("host", "called_ae", "calling_ae")):
        raise PlatformError("the vendor's node is not named: host and both AE titles are needed", is_permanent=True)
    return Peer(
        host=settings["host"], port=int(port), called_ae=settings["called_ae"], calling_ae=settings["calling_ae"],
        has_tls=settings.get("dicom_tls", "yes") != "no",
    )  # fmt: skip


def images_store(handle: Handle, settings: Mapping[str, str], ways: Ways) -> str:
    """C-STORE every file; returns the key under which the vendor knows them, our surrogate Study UID. Raises PlatformError."""
    taken = ways.dimse.store(handle.files, peer_of(settings))
    if taken != len(handle.files):
        raise PlatformError(f"the node took {taken} of {len(handle.files)} objects", is_permanent=False)
    return handle.study_uid


def node_check(settings: Mapping[str, str], ways: Ways) -> str:
    """C-ECHO. Raises PlatformError."""
    peer = peer_of(settings)
    ways.dimse.echo(peer)
    return f"{peer.called_ae} answered C-ECHO"
