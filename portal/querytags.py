"""Query attributes as their page shows them: what each is, a bar while it is built, a state in words. Read every two seconds."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from imaging.models import QueryTag
from imaging.querytags.declare import tag_text, tag_words
from portal.words import StateWords

LEVEL_WORDS = {"study": gettext_lazy("study"), "series": gettext_lazy("series"), "instance": gettext_lazy("image")}


@dataclass(frozen=True)
class QueryTagRow:
    tag: QueryTag
    title: str
    number: str  # as it is asked for
    detail: str
    level: str
    counts: str
    state: StateWords

    @property
    def is_building(self) -> bool:
        return bool(self.tag.state == QueryTag.State.BUILDING)


def query_tag_row(tag: QueryTag) -> QueryTagRow:
    number = tag_text(tag.tag)
    kind, word = ("wait", _("being built")) if tag.state == QueryTag.State.BUILDING else ("ok", _("ready"))
    if tag.state == QueryTag.State.READY and tag.objects_bad:
        kind = "note"
    return QueryTagRow(
        tag=tag, title=tag_words(tag.tag) or number, number=number,
        detail=", ".join(filter(None, (tag.vr, _("private, of %(creator)s") % {"creator": tag.creator} if tag.creator else ""))),
        level=str(LEVEL_WORDS[tag.level]), counts=_counts(tag), state=StateWords(kind, word, tag.last_error),
    )  # fmt: skip


def _counts(tag: QueryTag) -> str:
    if not tag.until_id:
        return _("begins within seconds")
    said = ngettext("%(done)d of %(total)d object read", "%(done)d of %(total)d objects read", tag.objects_total) % {
        "done": tag.objects_done, "total": tag.objects_total,
    }  # fmt: skip
    bad = ngettext("%(bad)d could not be read", "%(bad)d could not be read", tag.objects_bad) % {"bad": tag.objects_bad}
    return f"{said}, {bad}" if tag.objects_bad else said


def query_tags_mark(tags: Sequence[QueryTag]) -> str:
    """The same while the panel would look the same."""
    facts = [f"{t.id}.{t.state}.{t.until_id}.{t.objects_done}.{t.objects_bad}.{t.last_error}" for t in tags]
    return hashlib.sha256("|".join(facts).encode()).hexdigest()[:16]
