"""What an algorithm hands back: frozen records that become the job's JSON; made by algorithms, read by the worker."""

from collections.abc import Callable
from dataclasses import dataclass, field

from quantify.codes import Code, Unit


@dataclass(frozen=True)
class Remark:
    """A short code with a sentence for people: a refusal's reason, a failure, or a note."""

    code: str
    text: str


@dataclass(frozen=True)
class Parameter:
    """A setting that changed the number, such as the threshold."""

    code: Code
    value: float
    unit: Unit


@dataclass(frozen=True)
class Measurement:
    """One number with all that is needed to repeat it."""

    code: Code
    value: float
    unit: Unit
    body_site: Code
    method: str
    parameters: tuple[Parameter, ...] = ()


@dataclass(frozen=True)
class InputRecord:
    """Which images were given; `sha256` stays None when a gate refused before any pixel was decoded."""

    study_uid: str | None
    series_uid: str | None
    instances: int
    sop_uids: tuple[str, ...] = ()
    sha256: str | None = None


@dataclass(frozen=True)
class Mask:
    """The voxels that were measured: slices in the order of `sop_uids`, each row by row. `bits` packs them, eight to a byte, when asked."""

    label: str
    site: Code
    sop_uids: tuple[str, ...]
    rows: int
    columns: int
    bits: Callable[[], bytes] = field(compare=False, repr=False)


@dataclass(frozen=True)
class Analysis:
    """The end of one run: measurements, or the reason why this input cannot be measured."""

    input: InputRecord
    measurements: tuple[Measurement, ...] = ()
    reason: Remark | None = None
    notes: tuple[Remark, ...] = ()
    mask: Mask | None = None


class UnreadableInputError(Exception):
    """The bytes are not images we can read: the job has failed, which is no statement about the patient's study."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.remark = Remark(code, text)
