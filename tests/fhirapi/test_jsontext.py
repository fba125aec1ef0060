"""What a client wrote is what is kept: numbers to the last zero, strings to the last character."""

import json
from decimal import Decimal
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fhirapi.jsontext import InvalidJsonError, Number, json_canonical, json_dump, json_load
from fhirapi.store import resources_put
from tests.conftest import Hospital
from tests.fhirapi.writing import Writer, observation

DIGITS = st.text("0123456789", min_size=1, max_size=12)
NUMBERS = st.builds(
    lambda minus, whole, fraction, exponent: f"{minus}{int(whole)}{fraction}{exponent}",
    st.sampled_from(["", "-"]),
    DIGITS,
    st.one_of(st.just(""), DIGITS.map(lambda text: f".{text}")),
    st.one_of(st.just(""), st.builds(lambda e, sign, digits: f"{e}{sign}{digits}", st.sampled_from("eE"), st.sampled_from(["", "+", "-"]),
                                     st.sampled_from(["0", "2", "12"]))),
)  # fmt: skip
STRINGS = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0"))


@given(NUMBERS)
def test_any_number_comes_back_as_written(text: str) -> None:
    """ "any JSON number ... comes back as written" (1.00 stays 1.00)."""
    document = f'{{"a":[{text},{{"b":{text}}}]}}'
    tree = json_load(document.encode())
    assert json_dump(tree) == document
    assert float(tree["a"][0]) == float(text)


@given(STRINGS, st.booleans())
def test_any_string_comes_back(text: str, is_ascii: bool) -> None:
    """ "any JSON ... string comes back as written", whether it was escaped or not."""
    body = json.dumps({"a": text}, ensure_ascii=is_ascii).encode()
    assert json.loads(json_dump(json_load(body))) == {"a": text}


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[1,]", b'{"a":NaN}', b'{"a":Infinity}', b'{"a":1,"a":2}', b'{"a":{"b":1,"b":1}}', b"\xff", b'{"a":"\xc3"}',
     b'{"a":"\\ud800"}', b'{"a":"x\\u0000y"}', b'{"a":1e999}', b'{"a":01}', b"{} {}", b"[" * 5000, b"[" * 65 + b"]" * 65],
    ids=lambda body: repr(body[:20]),
)  # fmt: skip
def test_what_cannot_be_kept_is_refused(body: bytes) -> None:
    """No JSON, one thing said twice, half characters, NUL, endless nesting: nobody could give it back."""
    with pytest.raises(InvalidJsonError) as error:
        json_load(body)
    assert "x\0y" not in error.value.user_message


def test_a_backslash_before_u0000_is_text() -> None:
    """Six characters that look like an escape are no NUL."""
    assert json.loads(json_dump(json_load(b'{"a":"\\\\u0000"}'))) == {"a": "\\u0000"}


def test_the_canonical_form_tells_written_numbers_apart() -> None:
    """1.0 and 1.00 are different statements of precision; the order of members is none."""
    one, other = json_load(b'{"a":1.0,"b":2}'), json_load(b'{"b": 2, "a": 1.00}')
    assert json_canonical(one) != json_canonical(other)
    assert json_canonical(json_load(b'{"b":2,"a":1.0}')) == json_canonical(one)
    assert json_canonical({"b": 2, "a": "x"}) == orjson.dumps({"a": "x", "b": 2})


def test_a_number_is_a_float_for_who_computes() -> None:
    number = Number("1.10E2")
    assert (number == 110, str(number), Decimal(str(number))) == (True, "1.10E2", Decimal("1.10E2"))


def test_a_stored_decimal_is_served_as_sent(mercy: Hospital) -> None:
    """ "The client's JSON text is what is stored and served (1.00 stays 1.00)", in reads, searches, histories and bundles."""
    fhir = Writer(mercy)
    texts = ["1.00", "1.10E2", "0.12345678901234567890", "-0.0", "100000000000000000000.5"]
    for text in texts:
        body = json.dumps(observation(valueQuantity={"value": "@"})).replace('"@"', text)
        made = fhir.post("Observation", body)
        assert made.status_code == 201, made.content
        fhir_id = made.json()["id"]
        for path in (f"Observation/{fhir_id}", f"Observation?_id={fhir_id}", f"Observation/{fhir_id}/_history", "_history?_count=1"):
            assert f'"value":{text}}}' in fhir.get(path).content.decode(), path
        assert f'"value": {text}' in fhir.get(f"Observation/{fhir_id}?_pretty=true").content.decode()
        bundled = {"resourceType": "Bundle", "type": "transaction", "entry": ["@"]}
        entry = f'{{"request":{{"method":"PUT","url":"Observation/b"}},"resource":{body[:-1]},"id":"b"}}}}'
        answer = fhir.post("", json.dumps(bundled).replace('"@"', entry))
        assert answer.status_code == 200, answer.content
        assert f'"value":{text}}}' in fhir.get("Observation/b").content.decode()


def test_only_id_version_and_time_are_ours(mercy: Hospital) -> None:
    """ "only top-level id and meta.versionId/lastUpdated are replaced"; the client's meta, order and unknown spelling stay."""
    fhir = Writer(mercy)
    meta = {
        "versionId": "77", "lastUpdated": "2001-01-01T00:00:00Z", "source": "urn:x", "profile": ["http://p"], "tag": [{"code": "t"}],
        "security": [{"code": "R"}], "extension": [{"url": "http://e", "valueBoolean": True}],
    }  # fmt: skip
    sent: dict[str, Any] = {
        "resourceType": "Patient", "id": "mine", "meta": meta, "birthDate": "1970-01-01", "active": True, "name": [{"text": "Zoë/山田"}]
    }  # fmt: skip
    got = fhir.made(sent)
    assert got["id"] != "mine"
    assert list(got) == list(sent)
    assert {k: v for k, v in got["meta"].items() if k not in {"versionId", "lastUpdated"}} == dict(list(meta.items())[2:])
    assert got["meta"]["versionId"] == "1"
    assert {k: v for k, v in got.items() if k not in {"id", "meta"}} == {k: v for k, v in sent.items() if k not in {"id", "meta"}}


def test_the_hubs_own_text_and_a_clients_have_one_digest(mercy: Hospital) -> None:
    """What the hub wrote and REST repeats word by word is no new version."""
    fhir = Writer(mercy)
    with mercy.scope():
        resources_put(resources=[{"resourceType": "Patient", "id": "p1", "gender": "female"}])
    assert fhir.put("Patient/p1", {"id": "p1", "gender": "female", "resourceType": "Patient"}).json()["meta"]["versionId"] == "1"
