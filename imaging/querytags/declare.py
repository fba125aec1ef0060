"""Declaring and removing query attributes. Called by the API, the portal and the command."""

import re
from datetime import timedelta
from functools import partial

from django.db import IntegrityError, transaction
from django.utils import timezone
from pydicom.datadict import dictionary_VR, keyword_for_tag, tag_for_keyword

from imaging.models import QueryTag
from imaging.query import attributes
from imaging.query.attributes import ATTRIBUTES
from imaging.query.declared import LEVELS, VRS
from imaging.querytags.known import tags_forget
from journal.audit import Actor, audit_record
from journal.wall.scope import tenant_id_current

TAGS_CAP = 32  # of one hospital
REMOVING_CAP = 32  # whose values still go
# What the index worker has begun before the declaration, without knowing of it, is committed by then.
SETTLE_SECONDS = 15.0
_HEX = re.compile(r"\(?([0-9A-Fa-f]{4}),?([0-9A-Fa-f]{4})\)?")
_CREATOR = re.compile(r"[\x20-\x5b\x5d-\x7e]{1,64}")
_ABOUT = frozenset((
    attributes.CHARACTER_SET, attributes.QUERY_LEVEL, attributes.QUERY_VIEW, attributes.RETRIEVE_AE, attributes.AVAILABILITY,
    0x00081190,  # Retrieve URL
))  # fmt: skip


class QueryTagError(Exception):
    """An attribute cannot be declared like that. The text is ours and names the field; it is shown to whoever asked."""

    def __init__(self, field: str, words: str) -> None:
        super().__init__(words)
        self.field = field


def tag_read(text: str) -> int:
    """A keyword of PS3.6, `gggg,eeee` or eight hexadecimal digits. Raises QueryTagError."""
    found = _HEX.fullmatch(text.strip())
    if found is not None:
        return int(found[1] + found[2], 16)
    tag = tag_for_keyword(text.strip())
    if tag is None:
        raise QueryTagError("tag", "neither a keyword of PS3.6 nor group and element like 0018,1030")
    return int(tag)


def tag_text(tag: int) -> str:
    """As it is asked for (PS3.18 8.3.4.1) and shown."""
    return f"{tag:08X}"


def tag_words(tag: int) -> str:
    return keyword_for_tag(tag)


def _vr_check(tag: int, vr: str, creator: str) -> str:
    """The VR that it is compared by. Raises QueryTagError for what is no key."""
    group, element = tag >> 16, tag & 0xFFFF
    if group < 0x0008 or tag >= 0x7FE00000 or element == 0 or tag in _ABOUT:
        raise QueryTagError("tag", "this attribute is about the message, the file or the pixels: nobody can ask for it")
    if tag in ATTRIBUTES:
        raise QueryTagError("tag", "this attribute can be asked for without a declaration")
    if group % 2:
        return _private_check(tag, vr, creator)
    if creator:
        raise QueryTagError("private_creator", "only private attributes, those of odd groups, have a private creator")
    try:
        known = dictionary_VR(tag).split(" or ")
    except KeyError:
        raise QueryTagError("tag", "this attribute is not in PS3.6; a private one has an odd group") from None
    if vr and vr not in known:
        raise QueryTagError("vr", f"the VR of this attribute is {' or '.join(known)} (PS3.6)")
    return _kind_check(vr or known[0], "tag")


def _private_check(tag: int, vr: str, creator: str) -> str:
    if tag >> 16 < 0x0009 or tag & 0xFFFF < 0x1000:
        raise QueryTagError("tag", "a private attribute has an odd group from 0009 and an element from 1000 (PS3.5 7.8.1)")
    if not creator:
        raise QueryTagError("private_creator", "a private attribute is known by its private creator (PS3.5 7.8.1)")
    if not _CREATOR.fullmatch(creator):
        raise QueryTagError("private_creator", "a private creator has 1 to 64 ASCII characters and no backslash")
    if not vr:
        raise QueryTagError("vr", "a private attribute is in no dictionary: give its VR")
    return _kind_check(vr, "vr")


def _kind_check(vr: str, field: str) -> str:
    if vr not in VRS:
        raise QueryTagError(field, f"attributes of VR {vr} are no keys; those of {', '.join(sorted(VRS))} are")
    return vr


def query_tag_create(*, actor: Actor, tag: str, level: str, vr: str = "", private_creator: str = "") -> QueryTag:
    """Declare an attribute; a job reads what is stored already. Raises QueryTagError."""
    number, creator = tag_read(tag), private_creator.strip()
    if level not in LEVELS:
        raise QueryTagError("level", "the level is study, series or instance")
    if vr and not re.fullmatch("[A-Z]{2}", vr):
        raise QueryTagError("vr", "a VR has two capital letters (PS3.5 6.2)")
    vr = _vr_check(number, vr, creator)
    _room_check(number, creator)
    now = timezone.now()
    row = QueryTag(
        tag=number, creator=creator, vr=vr, level=level, created_by=actor.name[:64], created_at=now, changed_at=now,
        due_at=now + timedelta(seconds=SETTLE_SECONDS),
    )  # fmt: skip
    try:
        with transaction.atomic():
            row.save(force_insert=True)
    except IntegrityError:
        raise QueryTagError("tag", "this attribute is declared already") from None
    _told(actor, "querytag.create", row)
    return row


def _room_check(tag: int, creator: str) -> None:
    """Raises QueryTagError. The rows are locked, so two declarations cannot both take the last place."""
    rows = list(QueryTag.objects.select_for_update(of=("self",)).order_by("id"))
    held = [row for row in rows if row.state != QueryTag.State.REMOVING]
    if len(held) >= TAGS_CAP:
        raise QueryTagError("tag", f"at most {TAGS_CAP} attributes are declared by a hospital")
    if len(rows) - len(held) >= REMOVING_CAP:
        raise QueryTagError("tag", "the values of removed attributes are still going: try again later")
    if not creator:
        return
    for row in held:
        if row.tag >> 8 == tag >> 8 and row.creator != creator:
            raise QueryTagError("tag", "this block is another private creator's: declare the attribute in another block, as gggg,11ee")
        if row.creator == creator and row.tag >> 16 == tag >> 16 and row.tag & 0xFF == tag & 0xFF and row.tag != tag:
            raise QueryTagError("tag", f"this attribute is declared already, as {tag_text(row.tag)}")


def query_tag_add(*, actor: Actor, tag: str, level: str, vr: str = "", private_creator: str = "") -> tuple[QueryTag, bool]:
    """`query_tag_create` unless it is there just so. Returns it and whether it is new. Raises QueryTagError."""
    live = QueryTag.objects.exclude(state=QueryTag.State.REMOVING)
    row = live.filter(tag=tag_read(tag), level=level, creator=private_creator.strip()).first()
    if row is not None and vr in {"", row.vr}:
        return row, False
    return query_tag_create(actor=actor, tag=tag, level=level, vr=vr, private_creator=private_creator), True


def query_tag_delete(*, actor: Actor, row: QueryTag) -> None:
    """From now on nobody can ask for it; a job removes its values, then the row. Idempotent."""
    now = timezone.now()
    live = QueryTag.objects.filter(id=row.id).exclude(state=QueryTag.State.REMOVING)
    if live.update(state=QueryTag.State.REMOVING, due_at=now, changed_at=now, claim=0):
        _told(actor, "querytag.delete", row)


def query_tag_reindex(*, actor: Actor, row: QueryTag) -> None:
    """Read everything once more, from the beginning. What is there stays and is replaced object by object."""
    now = timezone.now()
    live = QueryTag.objects.filter(id=row.id).exclude(state=QueryTag.State.REMOVING)
    if live.update(
        state=QueryTag.State.BUILDING, after_id=0, until_id=0, objects_total=0, objects_done=0, objects_bad=0, claim=0,
        last_error="", due_at=now + timedelta(seconds=SETTLE_SECONDS), changed_at=now,
    ):  # fmt: skip
        _told(actor, "querytag.reindex", row)


def _told(actor: Actor, action: str, row: QueryTag) -> None:
    audit_record(
        actor=actor, action=action, object_type="QueryTag", object_id=str(row.id), detail={"tag": tag_text(row.tag)},
    )  # fmt: skip
    tags_forget(tenant_id_current())
    transaction.on_commit(partial(tags_forget, tenant_id_current()), robust=True)


def query_tag_get(*, tag_id: int) -> QueryTag | None:
    found: QueryTag | None = QueryTag.objects.filter(id=tag_id).exclude(state=QueryTag.State.REMOVING).first()
    return found


def query_tags() -> list[QueryTag]:
    """By tag; those that are being removed are not there any more."""
    return list(QueryTag.objects.exclude(state=QueryTag.State.REMOVING).order_by("tag"))
