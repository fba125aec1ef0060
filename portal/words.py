"""Words for states and people: what the pages say. Every text goes through gettext."""

from dataclasses import dataclass
from datetime import date, datetime, timedelta

from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from ai.selectors import AiState
from imaging.matching import ANOTHER as ORDER_OF_ANOTHER
from imaging.models import Study, WorkItem

AI_WORDS = {
    "waiting": gettext_lazy("waiting for images"),
    "routing": gettext_lazy("being routed"),
    "submitted": gettext_lazy("submitted"),
    "running": gettext_lazy("running"),
    "done": gettext_lazy("done"),
    "not_analysable": gettext_lazy("not analysable"),
    "not_eligible": gettext_lazy("not eligible"),
    "refused": gettext_lazy("not sent"),
    "failed": gettext_lazy("failed"),
    "quarantined": gettext_lazy("answer kept back"),
    "cancelled": gettext_lazy("cancelled"),
}
QUIET = {"not_eligible"}  # a fact about the study, nothing to look after: shown without a colour that calls
ITEM_KINDS = {
    "certificate-ends": gettext_lazy("Certificate ends"),
    "duplicate": gettext_lazy("Duplicate that differs"),
    "duplicate-replaced": gettext_lazy("Duplicate that replaced the stored one"),
    "duplicate-refused": gettext_lazy("Duplicate that was refused"),
    "patient-conflict": gettext_lazy("Patient conflict"),
    "patient-differs": gettext_lazy("Patient differs from the EHR"),
    "series-conflict": gettext_lazy("Series of another study"),
    "unreadable": gettext_lazy("Unreadable object"),
    "order-missing": gettext_lazy("Study without an order"),
    "order-patient": gettext_lazy("Order of another patient"),
    "order-incomplete": gettext_lazy("Order that cannot be listed"),
    "damaged": gettext_lazy("Damaged object"),
}
# decision -> what the button says, what it does, and what the item says afterwards
ACTIONS = {
    "keep": (gettext_lazy("Keep the stored one"), gettext_lazy("The study stays as it is."), gettext_lazy("the stored one was kept")),
    "use_other": (
        gettext_lazy("Use the other one"), gettext_lazy("It takes the place of the stored one, and the study gets a new version."),
        gettext_lazy("the other one took the place of the stored one"),
    ),
    "keep_two": (gettext_lazy("Keep as two patients"), gettext_lazy("Nothing changes."), gettext_lazy("kept as two patients")),
    "merge": (
        gettext_lazy("They are one patient"), gettext_lazy("Every study of the second goes to the first, and later images follow."),
        gettext_lazy("the second was merged into the first"),
    ),
    "discard": (gettext_lazy("Discard"), gettext_lazy("The object does not join the study."), gettext_lazy("discarded")),
    "accept": (
        gettext_lazy("Accept into the study"),
        gettext_lazy("The study keeps its patient, although the object names another, and gets a new version."),
        gettext_lazy("accepted into the study"),
    ),
    "recheck": (
        gettext_lazy("Read again"), gettext_lazy("For when the bytes were brought back, from a backup for instance."),
        gettext_lazy("read again and found whole"),
    ),
    "match": (
        gettext_lazy("This order asked for it"), gettext_lazy("The study names this order from then on, and matching leaves it alone."),
        gettext_lazy("its order was chosen"),
    ),
    "matched": (gettext_lazy("Close"), gettext_lazy("Nothing changes."), gettext_lazy("matched by itself")),
    "dismiss": (gettext_lazy("Close"), gettext_lazy("Nothing changes."), gettext_lazy("closed")),
}  # fmt: skip
MERGE_EFFECT = gettext_lazy("The order's number stays. What the images' number has goes to it, and later images follow. It can be undone.")
ORIGINS = {
    "hl7": gettext_lazy("by HL7 (A40)"), "portal": gettext_lazy("on this page"), "api": gettext_lazy("by the API"),
    "item": gettext_lazy("about a work item"),
}  # fmt: skip
BACK = {
    "keep": (gettext_lazy("Keep the new one"), gettext_lazy("The study stays as it is.")),
    "use_other": (gettext_lazy("Go back to the old one"), gettext_lazy("It takes its place again, and the study gets a new version.")),
}
HOPS = {
    "setup": gettext_lazy("Settings"), "address": gettext_lazy("Address"), "dns": gettext_lazy("Name"),
    "tcp": gettext_lazy("Connection"), "tls": gettext_lazy("TLS"), "association": gettext_lazy("Association"),
    "echo": gettext_lazy("C-ECHO"), "web": gettext_lazy("DICOMweb"),
}  # fmt: skip
SEXES = {"M": gettext_lazy("M"), "F": gettext_lazy("F")}
AGE_UNITS = {"Y": gettext_lazy("y"), "M": gettext_lazy("mo"), "W": gettext_lazy("wk"), "D": gettext_lazy("d")}
# Under a minute, then minutes, hours, days: what portal.js counts on with.
SINCE = (gettext_lazy("just now"), gettext_lazy("{n} min ago"), gettext_lazy("{n} h ago"), gettext_lazy("{n} d ago"))
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


@dataclass(frozen=True)
class StateWords:
    """What components/state.html shows."""

    kind: str
    word: str
    reason: str = ""


def ai_words(state: AiState) -> StateWords:
    kind = "off" if state.key in QUIET else state.kind
    return StateWords(kind, str(AI_WORDS[state.key]), state.reason)


def patient_name(name: str) -> str:
    """DOE, Jane: family name, given name, of the first group that says something; other groups follow in brackets."""
    alphabetic, *others = name.split("=")
    groups = [_group(alphabetic, ", "), *(_group(group, " ") for group in others)]  # only the first is written with a comma
    said = [group for group in groups if group]
    if not said:
        return _("(no name)")
    return said[0] + "".join(f" ({group})" for group in said[1:])


def _group(group: str, between: str) -> str:
    family, _sep, rest = group.partition("^")
    given = " ".join(part for part in rest.split("^")[:2] if part.strip())
    return between.join(part for part in (family.strip(), given) if part)


def patient_line(study: Study) -> str:
    """MRN …1234 · born 02 Jan 1960: the second line under the name."""
    patient = study.patient
    number = patient.patient_id
    born = date_words(patient.birth_date)
    parts = [
        _("no patient number") if not number else f"MRN …{number[-4:]}" if len(number) > 4 else f"MRN {number}",
        _("born %(date)s") % {"date": born} if born else _("no birth date"),
    ]
    return " · ".join(part.replace(" ", "\u00a0") for part in parts)  # a narrow column breaks between the two, not in a date


def sex_age(study: Study) -> str:
    """F 54 y: what stands beside the name."""
    return " ".join(part for part in (str(SEXES.get(study.patient.sex, "")), age_words(study)) if part)


def age_words(study: Study) -> str:
    """The age at the study: PatientAge (AS, PS3.5 6.2), else from the two dates when both are whole, else nothing."""
    text = study.patient_age
    if len(text) == 4 and text[:3].isdigit() and text[3] in AGE_UNITS and (int(text[:3]) or text[3] == "D"):
        return f"{int(text[:3])} {AGE_UNITS[text[3]]}"
    born, done = _date(study.patient.birth_date), _date(study.study_date)
    if born is None or done is None or born > done:
        return ""
    months = (done.year - born.year) * 12 + done.month - born.month - (done.day < born.day)
    if months >= 24:
        return f"{months // 12} {AGE_UNITS['Y']}"
    return f"{months} {AGE_UNITS['M']}" if months else f"{(done - born).days} {AGE_UNITS['D']}"


def _date(text: str) -> date | None:
    try:
        return date(int(text[:4]), int(text[4:6]), int(text[6:])) if len(text) == 8 and text.isdigit() else None
    except ValueError:
        return None


def since_words(at: datetime) -> str:
    """12 min ago: the elapsed time beside the absolute one."""
    return elapsed_words((timezone.now() - at).total_seconds(), tuple(str(words) for words in SINCE))


def elapsed_words(elapsed: float, said: tuple[str, ...]) -> str:
    """`said`: the words of SINCE, translated once for a page."""
    seconds = max(int(elapsed), 0)
    now, minutes, hours, days = said
    if seconds < 60:
        return now
    if seconds < 3600:
        return minutes.replace("{n}", str(seconds // 60))
    return hours.replace("{n}", str(seconds // 3600)) if seconds < 48 * 3600 else days.replace("{n}", str(seconds // 86400))


def duration_words(span: timedelta) -> str:
    """1.2 s, 42 s, 3 min 20 s, 2 h 05 min, 3 d 4 h."""
    seconds = span.total_seconds()
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    if whole < 86400:
        return f"{whole // 3600} h {whole // 60 % 60:02} min"
    return f"{whole // 86400} d {whole // 3600 % 24} h"


def item_kind(kind: str) -> str:
    return str(ITEM_KINDS.get(kind, kind))


def action_words(item: WorkItem, action: str) -> tuple[str, str]:
    """What a way out is called, and what it does."""
    known = BACK if item.kind == "duplicate-replaced" and action in BACK else ACTIONS
    label, effect = known[action][:2]
    if item.kind == ORDER_OF_ANOTHER and action == "merge":
        effect = MERGE_EFFECT
    return str(label), str(effect)


def resolution_words(resolution: str) -> str:
    return str(ACTIONS[resolution][2]) if resolution in ACTIONS else resolution


def origin_words(origin: str) -> str:
    return str(ORIGINS.get(origin, origin))


def item_sides(item: WorkItem) -> tuple[str, str]:
    """The heads over the two columns."""
    if item.kind == "patient-conflict":
        return (_("The first"), _("The second")) if item.patient and not item.key else (_("The study's patient"), _("The object"))
    if item.kind == "patient-differs":
        return _("The images"), _("The EHR")
    if item.kind == ORDER_OF_ANOTHER:
        return _("The images"), _("The order")
    if item.kind == "duplicate-replaced":
        return _("Stored: the new one"), _("The old one")
    return _("Stored"), _("The other")


def size_words(size: int) -> str:
    """512 kB, 3.4 MB: decimal, as disks are sold."""
    for unit, step in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if size >= step:
            return f"{size / step:.{0 if unit == 'kB' else 1}f}\u00a0{unit}"
    return f"{size}\u00a0B"


def hop_words(hop: str) -> str:
    return str(HOPS.get(hop, hop))


def date_words(text: str) -> str:
    """03 Mar 2026 of a DA value; what is not a whole date is shown as it came."""
    if len(text) == 8 and text.isdigit() and 1 <= int(text[4:6]) <= 12:
        return f"{text[6:]} {MONTHS[int(text[4:6]) - 1]} {text[:4]}"
    return text


def exam_time(study: Study) -> str:
    """Date and time as the modality wrote them; without an offset they are local to the device and marked so."""
    time = study.study_time
    clock = f" {time[:2]}:{time[2:4]}" if len(time) >= 4 and time[:4].isdigit() else ""
    zone = f" {_offset(study.utc_offset)}" if study.utc_offset else f" ({_('device time')})" if clock else ""
    return f"{date_words(study.study_date)}{clock}{zone}".strip() or _("not stated")


def _offset(text: str) -> str:
    """UTC-06:00 of &ZZXX (PS3.3 C.12.1.1.8)."""
    if len(text) != 5 or text[0] not in "+-" or not text[1:].isdigit():
        return text
    return "UTC" if text[1:] == "0000" else f"UTC{text[:3]}:{text[3:]}"
