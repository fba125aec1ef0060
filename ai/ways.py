"""The ways out of the house that a platform is handed: HTTP by tenants.egress, DIMSE by imaging, our own worklist."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from ai.contract import Dimse, Peer, Platform, PlatformError, Room, Ways, Worklist
from ai.workitems.worklist import OwnWorklist
from imaging.scu.association import NotPossibleError, NotReachedError
from imaging.scu.association import Peer as Called
from imaging.scu.files import echo_send, files_send, peer_make
from tenants.egress import CertificateUnusable, Egress

NOBODY = 0  # no hospital has this id


class DimseLine:
    """`ai.contract.Dimse` of one hospital, whose certificate is shown over TLS."""

    def __init__(self, tenant_id: int) -> None:
        self._tenant_id = tenant_id

    def store(self, files: Sequence[Path], peer: Peer) -> int:
        """All or an error: a study of which the platform has a part is not analysed. What was warned about was taken."""
        try:
            counts = files_send(files, self._called(peer))
        except NotPossibleError as error:
            raise PlatformError(error.user_message, is_permanent=True) from error
        except NotReachedError as error:
            raise PlatformError(error.user_message, is_permanent=False) from error
        taken = counts.completed + counts.warned
        if taken < len(files):
            raise PlatformError(f"{len(files) - taken} of {len(files)} objects were not taken: {counts.reason}", is_permanent=False)
        return taken

    def echo(self, peer: Peer) -> None:
        try:
            echo_send(self._called(peer))
        except NotPossibleError as error:
            raise PlatformError(error.user_message, is_permanent=True) from error
        except NotReachedError as error:
            raise PlatformError(error.user_message, is_permanent=False) from error

    def _called(self, peer: Peer) -> Called:
        return peer_make(
            tenant_id=self._tenant_id, host=peer.host, port=peer.port, called_ae=peer.called_ae, calling_ae=peer.calling_ae,
            has_tls=peer.has_tls,
        )  # fmt: skip


@contextmanager
def platform_ways(
    platform: Platform, settings: Mapping[str, str], *, folder: Path, tenant_id: int = NOBODY, dimse: Dimse | None = None,
    worklist: Worklist | None = None, room: Room | None = None,
) -> Iterator[Ways]:
    """The ways out of one hospital's connection: its certificate and credentials on each request, its connections kept until the end.

    Without a hospital there is no worklist and no certificate of a node. Raises PlatformError when the certificate or the
    credentials cannot be used.
    """
    try:
        with Egress(certificate=platform.certificate(settings), read_seconds=platform.patience_seconds) as egress:
            yield Ways(
                http=platform.authenticated(settings, egress), dimse=dimse or DimseLine(tenant_id),
                worklist=worklist or OwnWorklist(tenant_id), folder=folder, room=room,
            )
    except CertificateUnusable as error:
        raise PlatformError(error.user_message, is_permanent=True) from error
