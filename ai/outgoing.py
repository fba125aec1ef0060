"""What leaves for a platform: the objects of a job, de-identified into a folder of its own, and the way back kept before a byte goes.

Dispatch calls `job_objects`; the folder stays while the job is open, for platforms that fetch, and goes with its end.
"""

import hashlib
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from django.conf import settings
from django.utils import timezone

from ai.cards import Deidentification
from ai.contract import PlatformError
from ai.deident.blocks import Blocked
from ai.deident.engine import object_deidentify
from ai.deident.mapping import Mapping, MappingError, mapping_build
from ai.deident.profile import DEFAULT, FULL_DATES, MODIFIED_DATES, Profile
from ai.deident.surrogates import Keys
from ai.models import JobMapping
from journal.faults import fault

PROFILES: dict[Deidentification, Profile] = {
    "default": DEFAULT,
    "default-dates-kept": Profile(options=DEFAULT.options - {MODIFIED_DATES} | {FULL_DATES}, safe_private=DEFAULT.safe_private),
}


@dataclass(frozen=True, kw_only=True)
class Outgoing:
    """De-identified files in the order of the series, and what they told."""

    files: tuple[Path, ...]
    mapping: Mapping
    codes: frozenset[str]  # of CID 7050, what was done


def job_folder(*, tenant_id: int, job_id: int) -> Path:
    return Path(settings.MEDHUB_OBJECTS) / "outgoing" / str(tenant_id) / str(job_id)


def job_files(*, tenant_id: int, job_id: int) -> list[Path]:
    """What the platform of an open job may fetch; nothing once the job has ended."""
    folder = job_folder(tenant_id=tenant_id, job_id=job_id)
    return sorted(folder.glob("*.dcm")) if folder.is_dir() else []


def objects_deidentify(
    *, sources: Sequence[Path], folder: Path, profile: Profile, keys: Keys, patient: str
) -> Outgoing:
    """Write the objects into `folder`. Raises PlatformError, permanent: one that may not leave blocks all of them."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True, mode=0o700)
    done = []
    files = []
    try:
        for number, source in enumerate(sources):
            target = folder / f"{number:06d}.dcm"
            done.append(object_deidentify(source, target, profile=profile, keys=keys, patient=patient))
            files.append(target)
        mapping = mapping_build(done, sent_on=timezone.now().date())
    except Blocked as error:
        shutil.rmtree(folder, ignore_errors=True)
        raise PlatformError(f"not sent: {error.words}", is_permanent=True) from None
    except MappingError:
        shutil.rmtree(folder, ignore_errors=True)
        raise PlatformError("not sent: the series is not of one study and one person", is_permanent=True) from None
    fault("outgoing.after_deidentify")
    return Outgoing(files=tuple(files), mapping=mapping, codes=frozenset().union(*(one.codes for one in done)))


def mapping_keep(*, job_id: int, mapping: Mapping) -> None:
    """Before a byte leaves; a later attempt replaces it, for dates are shifted back from the day of sending."""
    JobMapping.objects.update_or_create(job_id=job_id, defaults={"content": mapping.to_json()})


def mapping_of(*, job_id: int) -> Mapping | None:
    row = JobMapping.objects.filter(job_id=job_id).first()
    return Mapping.from_json(row.content) if row else None


def outgoing_drop(*, tenant_id: int, job_id: int) -> None:
    """The job has ended: what was made for it goes."""
    shutil.rmtree(job_folder(tenant_id=tenant_id, job_id=job_id), ignore_errors=True)


def input_digest(digests: Sequence[str]) -> str:
    """Of the objects' SHA-256 in their order: the same input, the same digest."""
    return hashlib.sha256("\n".join(digests).encode()).hexdigest()
