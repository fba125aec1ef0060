"""Arrays as the fast dumper writes them come back as they were."""

import pytest
from django.db import DataError, connection, transaction
from django.utils.timezone import now
from hypothesis import given, settings
from hypothesis import strategies as some

from imaging.models import Node, Patient
from journal.wall.arrays import rows_insert

pytestmark = pytest.mark.database


def there_and_back(values: list, kind: str) -> list:
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT %s::{kind}[]", [values])
        return cursor.fetchone()[0]


@pytest.mark.django_db
@settings(max_examples=200, deadline=None)
@given(some.lists(some.text(some.characters(exclude_characters="\0", exclude_categories=("Cs",)))))
def test_texts(texts: list[str]) -> None:
    """Quotes, backslashes, braces, commas, the word NULL, line ends and the empty text are only text."""
    assert there_and_back(texts, "text") == texts


@pytest.mark.django_db
@pytest.mark.parametrize("texts", [['"'], ["\\"], ['a","b', "c"], ["NULL", "null", ""], ["{x}", "'; DROP TABLE x; --"], ["\u2028"]])
def test_texts_that_look_like_syntax(texts: list[str]) -> None:
    """Nothing that a modality sends may end an element or the statement."""
    assert there_and_back(texts, "text") == texts


@pytest.mark.django_db
@settings(max_examples=100, deadline=None)
@given(some.lists(some.none() | some.integers(-(2**63), 2**63 - 1)))
def test_numbers(numbers: list[int | None]) -> None:
    """Whole numbers and NULL, to the ends of bigint."""
    assert there_and_back(numbers, "bigint") == numbers


@pytest.mark.django_db
@settings(max_examples=100, deadline=None)
@given(some.lists(some.none() | some.floats(allow_nan=False)))
def test_fractions(numbers: list[float | None]) -> None:
    """To the last bit, infinities too."""
    assert there_and_back(numbers, "float8") == numbers


@pytest.mark.django_db
def test_nul_is_refused() -> None:
    """PostgreSQL has no NUL in a text: an error, never a text cut short."""
    with pytest.raises(DataError):
        there_and_back(["a\0b"], "text")


@pytest.mark.django_db
def test_other_lists_go_psycopgs_way() -> None:
    """Truth values, fractions, mixtures of text and NULL, lists of lists."""
    assert there_and_back([True, False], "bool") == [True, False]
    assert there_and_back([0.5, None], "float8") == [0.5, None]
    assert there_and_back(["a", None], "text") == ["a", None]
    assert there_and_back([[1, 2], [3, 4]], "int") == [[1, 2], [3, 4]]


def test_rows_are_written_as_bulk_create_would(mercy) -> None:
    """Texts, truth values, times, UUIDs, JSON and NULL come back as they went; what is too long is refused, never cut."""
    with mercy.scope():
        node = Node(ae_title="PACS", addresses=["10.0.0.0/8"], is_find_allowed=True, last_check={"a": [1, "\\"]}, checked_at=now())
        patient = Patient(patient_id='7"\\', name="Ö^=山")
        rows_insert([node])
        rows_insert([patient])
        rows_insert([patient], is_conflict_ignored=True)
        sent = {field.attname: getattr(node, field.attname) for field in Node._meta.concrete_fields}
        assert Node.objects.values().get(id=node.id) == sent
        found = Patient.objects.get()
        assert (found.uuid, found.patient_id, found.name, found.merged_into_id) == (patient.uuid, '7"\\', "Ö^=山", None)
        with pytest.raises(DataError), transaction.atomic():
            rows_insert([Node(ae_title="LONGER THAN SIXTEEN")])
