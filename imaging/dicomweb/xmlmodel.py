"""The Native DICOM Model (PS3.19 A.1) of what `jsonmodel` made: the same attributes, for who asks for application/dicom+xml."""

import re
from functools import lru_cache
from typing import Any
from xml.sax.saxutils import escape, quoteattr

from pydicom.datadict import keyword_for_tag

_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_HEAD = '<?xml version="1.0" encoding="UTF-8"?><NativeDicomModel xmlns="http://dicom.nema.org/PS3.19/models/NativeDICOM">'
_PN_PARTS = ("FamilyName", "GivenName", "MiddleName", "NamePrefix", "NameSuffix")


def object_xml(found: dict[str, Any]) -> bytes:
    return (_HEAD + _attributes(found) + "</NativeDicomModel>").encode()


@lru_cache(maxsize=4096)
def _keyword(tag: str) -> str:
    return keyword_for_tag(int(tag, 16))


def _text(value: object) -> str:
    # XML has no control characters, escaped or not
    return escape(_NOT_XML.sub("\ufffd", str(value)))


def _attributes(found: dict[str, Any]) -> str:
    return "".join(_attribute(tag, one) for tag, one in found.items())


def _attribute(tag: str, one: dict[str, Any]) -> str:
    keyword = _keyword(tag)
    named = f" keyword={quoteattr(keyword)}" if keyword else ""
    head = f"<DicomAttribute tag={quoteattr(tag)} vr={quoteattr(one['vr'])}{named}>"
    if "BulkDataURI" in one:
        return f"{head}<BulkData uri={quoteattr(one['BulkDataURI'])}/></DicomAttribute>"
    if "InlineBinary" in one:
        return f"{head}<InlineBinary>{one['InlineBinary']}</InlineBinary></DicomAttribute>"
    values = "".join(_value(one["vr"], number, value) for number, value in enumerate(one.get("Value", ()), start=1))
    return f"{head}{values}</DicomAttribute>"


def _value(vr: str, number: int, value: Any) -> str:
    if vr == "SQ":
        return f'<Item number="{number}">{_attributes(value)}</Item>'
    if value is None:
        return f'<Value number="{number}"/>' if vr != "PN" else f'<PersonName number="{number}"/>'
    if vr == "PN":
        groups = "".join(f"<{group}>{_components(text)}</{group}>" for group, text in value.items())
        return f'<PersonName number="{number}">{groups}</PersonName>'
    return f'<Value number="{number}">{_text(value)}</Value>'


def _components(text: str) -> str:
    pairs = zip(_PN_PARTS, text.split("^"), strict=False)
    return "".join(f"<{name}>{_text(part)}</{name}>" for name, part in pairs if part)
