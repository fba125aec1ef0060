"""The XHTML of a narrative (FHIR R4 2.4.0.1): basic formatting only, nothing that runs or is fetched as code or style.

Parsed by expat with document types refused, so that no entity but XML's own five exists.
"""

import re
from xml.parsers import expat

XHTML = "http://www.w3.org/1999/xhtml"

# The lists are those of invariant txt-1.
_ELEMENTS = (
    "a abbr acronym b big blockquote br caption cite code col colgroup dd dfn div dl dt em h1 h2 h3 h4 h5 h6 hr i img li ol p pre q "
    "samp small span strong sub sup table tbody td tfoot th thead tr tt ul var"
)
_ATTRIBUTES = (
    "abbr accesskey align alt axis bgcolor border cellhalign cellpadding cellspacing cellvalign char charoff charset cite class "
    "colspan compact coords dir frame headers height href hreflang hspace id lang longdesc name nowrap rel rev rowspan rules scope "
    "shape span src start style summary tabindex title type valign value vspace width"
)
ELEMENTS, ATTRIBUTES = frozenset(_ELEMENTS.split()), frozenset(_ATTRIBUTES.split())
XML_ATTRIBUTES = frozenset({"xml:lang", "xml:space", "xml:id"})
LINKS = frozenset({"href", "src", "cite", "longdesc"})
_BLANK = re.compile(r"[\x00-\x20]+")  # which browsers skip inside a scheme
_SCHEME = re.compile(r"([a-zA-Z][a-zA-Z0-9+.\-]*):")
_SCHEMES = frozenset({"http", "https", "mailto", "tel", "ftp", "urn", "cid"})
_IMAGE = re.compile(r"data:image/(?:png|jpeg|gif|webp|bmp)[;,]", re.IGNORECASE)
_STYLE = re.compile(
    r"url\s*\(\s*['\"]?\s*(?!data:\s*image/)[^()]*(?::|//)|expression\s*\(|@import|behaviou?r\s*:|-moz-binding|javascript:|\\|/\*",
    re.IGNORECASE,
)
DEPTH_MAX = 64


class _Refused(Exception):
    """Carries the problem in our words."""


class _Reader:
    def __init__(self) -> None:
        self.depth = 0
        self.has_content = False
        self.parser = parser = expat.ParserCreate(namespace_separator=None)
        parser.StartElementHandler = self.start
        parser.EndElementHandler = self.end
        parser.CharacterDataHandler = self.text
        parser.StartDoctypeDeclHandler = self.refuse
        parser.ProcessingInstructionHandler = self.refuse
        parser.XmlDeclHandler = self.refuse

    def start(self, name: str, attributes: dict[str, str]) -> None:
        self.depth += 1
        if self.depth > DEPTH_MAX:
            raise _Refused("is nested too deep")
        if self.depth == 1 and (name != "div" or attributes.get("xmlns") != XHTML):
            raise _Refused("must be one div of XHTML's namespace")
        if name not in ELEMENTS:
            raise _Refused("has an element that narratives may not have (txt-1)")
        self.has_content |= name == "img" and "src" in attributes
        for key, value in attributes.items():
            self.attribute(key, value)

    def attribute(self, key: str, value: str) -> None:
        if key == "xmlns" and value == XHTML:
            return
        if key not in ATTRIBUTES and key not in XML_ATTRIBUTES:
            raise _Refused("has an attribute that narratives may not have (txt-1)")
        if key == "style" and _STYLE.search(value):
            raise _Refused("has a style that could fetch or run something (txt-1)")
        if key in LINKS:
            link = _BLANK.sub("", value)
            scheme = _SCHEME.match(link)
            is_image = key == "src" and _IMAGE.match(link)
            if scheme and scheme[1].lower() not in _SCHEMES and not is_image:
                raise _Refused("has a link of a kind that narratives may not have (txt-1)")

    def end(self, name: str) -> None:
        self.depth -= 1

    def text(self, data: str) -> None:
        self.has_content = self.has_content or not data.isspace()

    def refuse(self, *_: object) -> None:
        raise _Refused("may not have a document type or processing instruction")


def narrative_problem(div: str) -> str:
    """What is wrong with this XHTML, in words that follow the element's name; empty when nothing is."""
    reader = _Reader()
    try:
        reader.parser.Parse(div.encode("utf-8", "surrogatepass"), True)
    except _Refused as refused:
        return str(refused)
    except expat.ExpatError:
        return "is not well-formed XHTML"
    return "" if reader.has_content else "has no content (txt-2)"
