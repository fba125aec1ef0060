"""What is different between two versions of the rules. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Any, Literal

FIELDS = ("name", "platform", "algorithm", "conditions", "series", "is_stat")
Rule = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class RuleChange:
    """One rule of either version. `fields` that differ, for a changed one; a changed one may have moved too."""

    kind: Literal["same", "added", "removed", "changed", "moved"]
    before: Rule | None
    after: Rule | None
    fields: tuple[str, ...] = ()
    has_moved: bool = False

    @property
    def rule(self) -> Rule:
        return self.after or self.before or {}


def rulesets_compare(*, before: Sequence[Rule], after: Sequence[Rule]) -> list[RuleChange]:
    """In the order of `after`, what was removed at the end. A rule is known by its id."""
    old, new = {rule["id"]: rule for rule in before}, {rule["id"]: rule for rule in after}
    moved = _moved([key for key in old if key in new], [key for key in new if key in old])
    found = [_change(old.get(key), rule, key in moved) for key, rule in new.items()]
    return found + [RuleChange(kind="removed", before=rule, after=None) for key, rule in old.items() if key not in new]


def _change(before: Rule | None, after: Rule, has_moved: bool) -> RuleChange:
    if before is None:
        return RuleChange(kind="added", before=None, after=after)
    fields = tuple(name for name in FIELDS if before.get(name) != after.get(name))
    kind: Literal["changed", "moved", "same"] = "changed" if fields else "moved" if has_moved else "same"
    return RuleChange(kind=kind, before=before, after=after, fields=fields, has_moved=has_moved)


def _moved(before: list[str], after: list[str]) -> set[str]:
    """Those that another order needs: all but the longest runs that stayed as they were."""
    blocks = SequenceMatcher(None, before, after, autojunk=False).get_matching_blocks()
    return set(after) - {key for block in blocks for key in before[block.a : block.a + block.size]}
