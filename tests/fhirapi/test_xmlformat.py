"""FHIR XML and JSON say the same, both ways, and hostile XML reaches nothing."""

import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fhirapi import xmlformat
from fhirapi.validation import InvalidResourceError, resource_validate
from fhirapi.xmlformat import Number, xml_read, xml_write
from tests.fhirapi.official import official_examples

PATCHES = Path(__file__).resolve().parents[3] / "shared/standards/fhir-test-cases/r4/patch/fhir-patch-tests.xml"
FHIR = "http://hl7.org/fhir"


def as_written(text: str) -> Any:
    """The tree of a JSON text whose numbers are told apart as they are written."""
    return json.loads(text, parse_float=Number, parse_int=Number)


def xml(inner: str, rtype: str = "Patient") -> bytes:
    return f'<{rtype} xmlns="{FHIR}">{inner}</{rtype}>'.encode()


def test_every_official_example_survives_both_ways() -> None:
    """ "round-trip JSON -> XML -> JSON exactly": 1.00 stays 1.00, and a narrative keeps each of its bytes."""
    for name, text in official_examples().items():
        document = xml_write(text)
        ElementTree.fromstring(document)  # noqa: S314 our own output
        back = xml_read(document)
        assert as_written(back) == as_written(text), name
        assert xml_write(back) == document, name


PATIENT = """<?xml version="1.0" encoding="UTF-8"?>
<Patient xmlns="http://hl7.org/fhir" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:schemaLocation="a b">
  <!-- written by hand -->
  <id value="p"/>
  <text><status value="generated"/><div xmlns="http://www.w3.org/1999/xhtml"><p a='&lt;'>x<br/>&#169;</p></div></text>
  <contained><Organization><id value="o"/><name value="&quot;A&quot; &amp; B"/></Organization></contained>
  <extension url="http://a.b/c"><valueDecimal value="1.00"/></extension>
  <active value="true"/>
  <name id="n"><given value="A"/><given id="g"><extension url="a:b"><valueCode value="x"/></extension></given></name>
  <birthDate id="b" value="2026-01-01"><extension url="a:b"><valueInteger value="-3"/></extension></birthDate>
  <multipleBirthInteger value="2"/>
  <managingOrganization><reference value="#o"/></managingOrganization>
</Patient>"""

AS_JSON = """{"resourceType": "Patient", "id": "p",
"text": {"status": "generated", "div": "<div xmlns=\\"http://www.w3.org/1999/xhtml\\"><p a='&lt;'>x<br/>&#169;</p></div>"},
"contained": [{"resourceType": "Organization", "id": "o", "name": "\\"A\\" & B"}],
"extension": [{"url": "http://a.b/c", "valueDecimal": 1.00}], "active": true,
"name": [{"id": "n", "given": ["A", null], "_given": [null, {"id": "g", "extension": [{"url": "a:b", "valueCode": "x"}]}]}],
"birthDate": "2026-01-01", "_birthDate": {"id": "b", "extension": [{"url": "a:b", "valueInteger": -3}]},
"multipleBirthInteger": 2, "managingOrganization": {"reference": "#o"}}"""


def test_one_by_hand() -> None:
    """ "primitives' `value`, extensions on primitives, id attributes, xhtml narrative, contained" (FHIR R4 2.6.1)."""
    assert as_written(xml_read(PATIENT.encode())) == as_written(AS_JSON)


def test_a_narrative_with_a_prefix_is_written_anew() -> None:
    """FHIR R4 2.6.1: a prefix may be declared anywhere above; in JSON the div stands alone."""
    body = (
        f'<f:Patient xmlns:f="{FHIR}" xmlns:h="http://www.w3.org/1999/xhtml"><f:text><f:status value="generated"/>'
        '<h:div xml:lang="en">a <h:b title="&quot;&amp;">&lt;b&gt;</h:b>\n"c"<h:br/><h:p></h:p></h:div></f:text></f:Patient>'
    )
    resource = json.loads(xml_read(body.encode()))
    assert resource["text"]["div"] == (
        '<div xmlns="http://www.w3.org/1999/xhtml" xml:lang="en">a <b title="&quot;&amp;">&lt;b&gt;</b>\n"c"<br/><p></p></div>'
    )
    assert resource_validate(resource=resource) == []


def test_elements_stand_in_their_order() -> None:
    """ "order of elements": by definition, whatever the JSON's order is."""
    document = xml_write(
        '{"birthDate":"2026","active":true,"name":[{"given":["a"],"family":"b"}],"resourceType":"Patient","id":"p"}'
    )
    assert [element.tag.rpartition("}")[2] for element in ElementTree.fromstring(document).iter()] == [  # noqa: S314 our own output
        "Patient", "id", "active", "name", "family", "given", "birthDate",
    ]  # fmt: skip


def test_a_bundle_and_parameters_hold_resources() -> None:
    entry = {
        "fullUrl": "urn:x",
        "resource": {"resourceType": "Patient", "id": "p"},
        "request": {"method": "POST", "url": "Patient"},
    }
    for resource in (
        {"resourceType": "Bundle", "type": "batch", "entry": [entry, entry]},
        {
            "resourceType": "Parameters",
            "parameter": [{"name": "a", "resource": entry["resource"]}, {"name": "b", "part": [{"name": "c"}]}],
        },
        {
            "resourceType": "OperationOutcome",
            "issue": [{"severity": "error", "code": "invalid", "expression": ["Patient.name[0]"]}],
        },
    ):
        assert json.loads(xml_read(xml_write(json.dumps(resource)))) == resource


@pytest.mark.parametrize(
    "number", ["1.00", "-0.0", "1e-7", "1.10E+2", "0.12345678901234567890123", "123456789012345678901234567890"]
)
def test_numbers_stay_as_they_are_written(number: str) -> None:
    text = '{"resourceType":"Observation","valueQuantity":{"value":%s}}' % number  # noqa: UP031 braces
    assert f'<value value="{number}"/>'.encode() in xml_write(text)
    assert xml_read(xml_write(text)) == text


@settings(deadline=None)
@given(text=st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\ufffe\uffff"), min_size=1).filter(
    lambda text: not any(ord(c) < 32 and c not in "\t\n\r" for c in text)
))  # fmt: skip
def test_any_string_stays_as_it_is_written(text: str) -> None:
    resource = {"resourceType": "Patient", "name": [{"text": text}]}
    assert json.loads(xml_read(xml_write(json.dumps(resource)))) == resource


def test_what_xml_cannot_say_leaves_it_well_formed() -> None:
    document = xml_write('{"resourceType":"Patient","name":[{"text":"a\\uffffb\\u0001"}]}')
    assert 'value="a\ufffdb\ufffd"' in document.decode()


BOMB = '<!DOCTYPE a [<!ENTITY a "x"><!ENTITY b "&a;&a;&a;&a;">]>'
# (what, body, is it no FHIR XML at all, expression)
REFUSED: list[tuple[str, bytes, bool, str]] = [
    ("nothing", b"", True, ""),
    ("no XML", b'{"resourceType":"Patient"}', True, ""),
    ("an open end", b"<Patient", True, ""),
    ("a document type", b"<!DOCTYPE Patient>" + xml(""), True, ""),
    ("an entity bomb", BOMB.encode() + xml('<id value="&b;"/>'), True, ""),
    ("a file", b'<!DOCTYPE a [<!ENTITY f SYSTEM "file:///etc/passwd">]>' + xml('<id value="&f;"/>'), True, ""),
    ("an entity nobody made", xml('<id value="&nbsp;"/>'), True, ""),
    ("UTF-16", '<?xml version="1.0" encoding="UTF-16"?><Patient/>'.encode("utf-16"), True, ""),
    ("Latin 1", b'<?xml version="1.0" encoding="latin-1"?>' + xml('<id value="\xe9"/>').decode().encode("latin-1"), True, ""),
    ("no namespace", b"<Patient/>", True, ""),
    ("another namespace", b'<Patient xmlns="urn:x"/>', True, ""),
    ("a foreign element", xml('<a xmlns="urn:x"/>'), True, ""),
    ("a div alone", b'<div xmlns="http://www.w3.org/1999/xhtml">x</div>', True, ""),
    ("no resource", xml("", "HumanName"), True, ""),
    ("an unknown resource", xml("", "Nonsense"), True, ""),
    ("text", xml("Jane"), True, ""),
    ("depth", xml('<extension url="a:b">' * 200 + "</extension>" * 200), True, ""),
    (
        "a deep narrative",
        xml('<text><div xmlns="http://www.w3.org/1999/xhtml">' + "<p>" * 200 + "</p>" * 200 + "</div></text>"),
        True,
        "",
    ),
    ("an unknown element", xml('<nmae value="x"/>'), False, "Patient"),
    ("an unknown attribute", xml('<id value="x" x="y"/>'), False, "Patient.id"),
    ("an attribute of the resource", f'<Patient xmlns="{FHIR}" id="p"/>'.encode(), False, "Patient"),
    ("a value on an object", xml('<name value="x"/>'), False, "Patient.name[0]"),
    ("twice", xml('<gender value="male"/><gender value="female"/>'), False, "Patient.gender"),
    ("no value", xml("<gender/>"), False, "Patient.gender"),
    ("no number", xml('<multipleBirthInteger value="x"/>'), False, "Patient.multipleBirth"),
    ("a number of another form", xml('<multipleBirthInteger value="007"/>'), False, "Patient.multipleBirth"),
    ("a member in a number", xml('<multipleBirthInteger value="1,&quot;a&quot;:2"/>'), False, "Patient.multipleBirth"),
    ("no boolean", xml('<active value="1"/>'), False, "Patient.active"),
    ("nothing contained", xml("<contained/>"), False, "Patient.contained[0]"),
    ("two contained", xml("<contained><Patient/><Patient/></contained>"), False, "Patient.contained[0]"),
    ("no resource contained", xml("<contained><HumanName/></contained>"), False, "Patient.contained[0]"),
]


@pytest.mark.parametrize(("body", "is_unreadable", "place"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_what_is_refused(body: bytes, is_unreadable: bool, place: str) -> None:
    """ "hardened (no DTD, no entities, depth and size limits)"."""
    with pytest.raises(InvalidResourceError) as error:
        xml_read(body)
    assert (error.value.is_unreadable, error.value.issues[0].expression) == (is_unreadable, place)


def test_a_large_body_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(xmlformat, "BODY_MAX", 10)
    with pytest.raises(InvalidResourceError) as error:
        xml_read(xml(""))
    assert error.value.issues[0].code == "too-long"


def test_what_the_reader_lets_through_is_judged_like_json() -> None:
    """An empty element, a narrative that runs, a wrong code: the same issues whatever the format was."""
    body = xml('<text><status value="generated"/><div xmlns="http://www.w3.org/1999/xhtml"><script>x</script></div></text>'
               '<name/><gender value="banana"/>')  # fmt: skip
    found = {issue.expression for issue in resource_validate(resource=json.loads(xml_read(body))) if issue.is_error}
    assert found == {"Patient.text.div", "Patient.name[0]", "Patient.gender"}


@settings(max_examples=200, deadline=None)
@given(
    data=st.binary(max_size=60) | st.text("<>/='\"!?&;# abPatient", max_size=60).map(str.encode),
    where=st.integers(0, len(PATIENT)),
)
def test_anything_is_read_or_refused(data: bytes, where: int) -> None:
    with suppress(InvalidResourceError):
        json.loads(xml_read(PATIENT[:where].encode() + data + PATIENT[where:].encode()))


def test_hl7s_own_documents_in_xml() -> None:
    """The resources of HL7's patch tests, which HL7 wrote in XML."""
    if not PATCHES.exists():
        message = "shared/standards/fhir-test-cases is not here"
        (pytest.fail if os.environ.get("REQUIRE_PEERS") == "1" else pytest.skip)(message)
    ElementTree.register_namespace("", FHIR)
    resources = ElementTree.parse(PATCHES).getroot().findall("./case/*/*")  # noqa: S314
    assert len(resources) > 50
    for resource in resources:
        text = xml_read(ElementTree.tostring(resource))
        assert as_written(xml_read(xml_write(text))) == as_written(text)
