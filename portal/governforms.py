"""Forms of the recall switch: a reason each way, for it is what readers of the reports are told."""

from collections.abc import Sequence
from typing import Any

from django import forms
from django.utils.translation import gettext_lazy as _

from ai.governance.recalls import LONGEST
from portal.forms import PlainForm

REASON = {"rows": 2, "spellcheck": "true"}


class RecallForm(PlainForm):
    reason = forms.CharField(
        label=_("Why it is recalled"), max_length=LONGEST, widget=forms.Textarea(attrs=REASON),
        help_text=_("Readers of its reports see this, in the EHR too. Nothing about a patient."),
        error_messages={"required": _("Say why: readers of the reports will see it.")},
    )  # fmt: skip
    version = forms.ChoiceField(
        label=_("Flag reports of"), required=False,
        help_text=_("New runs are stopped for every version: which one would answer is not known beforehand."),
    )  # fmt: skip

    def __init__(self, *args: Any, versions: Sequence[str], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["version"].choices = [("", _("all versions")), *((one, one) for one in versions)]  # type: ignore[attr-defined]


class LiftForm(PlainForm):
    reason = forms.CharField(
        label=_("Why it is lifted"), max_length=LONGEST, widget=forms.Textarea(attrs=REASON),
        error_messages={"required": _("Say why: it is kept with your name.")},
    )  # fmt: skip
    reports = forms.ChoiceField(
        label=_("The reports that are flagged"),
        choices=[("keep", _("stay flagged: a newer version does not mend them")), ("clear", _("lose the flag: they were right after all"))],
    )  # fmt: skip
