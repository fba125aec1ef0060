"""The style sheet of the pages, read as text."""

import re
from collections import Counter

from django.conf import settings

BLOCK = re.compile(r"@[a-z-]+[^{;]*\{(?:[^{}]*\{[^{}]*\})*[^{}]*\}")


def test_no_class_is_dressed_twice() -> None:
    """Two pages that take the same name for two things dress each other's: outside media queries a selector stands once."""
    sheet = (settings.BASE_DIR / "static" / "css" / "medhub.css").read_text(encoding="utf-8")
    plain = BLOCK.sub("", re.sub(r"/\*.*?\*/", "", sheet, flags=re.DOTALL))
    found = Counter(one.strip() for selectors in re.findall(r"([^{}]+)\{[^{}]*\}", plain) for one in selectors.split(","))
    assert found
    assert [selector for selector, times in found.items() if times > 1 and selector.startswith(".mh-")] == []
