"""How a model keeps text that is searched."""

from typing import Any

from django.db import models


class FoldedField(models.TextField):  # type: ignore[type-arg]
    """Text as it is compared (`imaging.query.fold`): sorts by bytes, so a prefix is a range that an index serves."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{"db_collation": "C", "default": "", "blank": True, "editable": False, **kwargs})
