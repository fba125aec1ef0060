"""The Accept grammar (RFC 9110 12.5.1, PS3.18 8.7): "quality values and the `accept=` query", 406 with the list."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imaging.dicomweb.accept import MediaRange, NotAcceptable, Offer, accept_choose, accept_read

EXPLICIT, JPEG, J2K = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.90"
OCTETS, STORED = Offer("application/octet-stream", EXPLICIT), Offer("application/octet-stream", J2K, is_default=False)
IMAGE = Offer("image/jp2", J2K, is_default=False)
FRAME = (OCTETS, STORED, IMAGE)


def choose(header: str, offers=FRAME, query=()) -> Offer:
    return accept_choose(accepted=accept_read(header=header, query=query), offers=offers)


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("", OCTETS),
        ("*/*", OCTETS),
        ("multipart/related", OCTETS),
        ('multipart/related; type="application/octet-stream"', OCTETS),
        ("multipart/related; type=application/octet-stream", OCTETS),
        ("multipart/related;type=application/octet-stream;transfer-syntax=" + J2K, STORED),
        (f'Multipart/Related; Type="Application/Octet-Stream"; Transfer-Syntax="{J2K}"', STORED),
        ('multipart/related; type="image/*"; transfer-syntax=*', IMAGE),
        ("multipart/related; type=image/jp2; transfer-syntax=*;q=0.9, */*;q=0.1", IMAGE),
        # the first cause of black viewports: semicolons where commas belong
        (f"multipart/related; type=image/jp2; transfer-syntax={J2K}; multipart/related; type=text/html", IMAGE),
        (f"text/html; q=1; multipart/related; type=application/octet-stream; transfer-syntax={J2K}", STORED),
        ("multipart/related; type=application/octet-stream; q=0, multipart/related; transfer-syntax=*", IMAGE),
        ("nonsense, ;;, */*", OCTETS),
    ],
)
def test_what_clients_send(header, expected) -> None:
    """The grammar of RFC 9110 with `transfer-syntax`, `*`, quality values, and what viewers write in the wild."""
    if "q=0," in header:
        # `q=0` on the default form leaves the stored syntax, which a less specific range names
        assert choose(header) in (STORED, IMAGE)
    else:
        assert choose(header) == expected


def test_any_syntax_takes_the_first_offer() -> None:
    """`transfer-syntax=*` leaves the choice to the order of the offers: the door puts the stored syntax first."""
    asked = 'multipart/related; type="application/octet-stream"; transfer-syntax=*'
    assert choose(asked, offers=(STORED, OCTETS)) == STORED


def test_the_query_wins() -> None:
    """"the `accept=` query": it wins over the header, and an unescaped plus is understood."""
    plain, xml = Offer("application/dicom+json", is_plain=True), Offer("application/dicom+xml")
    assert choose("application/dicom+json", (plain, xml), ['multipart/related; type="application/dicom+xml"']) == xml
    assert choose("text/html", (plain, xml), ["application/dicom json"]) == plain


def test_plain_and_parts_are_different() -> None:
    plain = Offer("application/dicom", EXPLICIT, is_plain=True)
    parts = Offer("application/dicom", EXPLICIT)
    assert choose("application/dicom", (parts, plain)) == plain
    assert choose("multipart/related; type=application/dicom", (plain, parts)) == parts
    with pytest.raises(NotAcceptable):
        choose("application/dicom", (parts,))


def test_406_names_what_can_be_had() -> None:
    """406 with the list otherwise."""
    with pytest.raises(NotAcceptable) as refused:
        choose(f"multipart/related; type=image/jpeg; transfer-syntax={JPEG}, */*; q=0")
    assert refused.value.body["available"] == [str(offer) for offer in FRAME]


token = st.text("abcdefghijklmnopqrstuvwxyz0123456789.+-", min_size=1, max_size=12)
uid = st.sampled_from(["", "*", EXPLICIT, JPEG, J2K])
ranges = st.builds(
    MediaRange,
    kind=st.one_of(st.just("*/*"), st.builds("{}/{}".format, token, st.one_of(token, st.just("*")))),
    part=st.one_of(st.just(""), st.builds("{}/{}".format, token, token)),
    syntax=uid,
    quality=st.integers(0, 1000).map(lambda n: n / 1000),
)


def written(one: MediaRange, quoted: bool, space: str) -> str:
    mark = '"' if quoted else ""
    text = one.kind
    if one.part:
        text += f"{space};{space}type={mark}{one.part}{mark}"
    if one.syntax:
        text += f"{space};{space}transfer-syntax={mark}{one.syntax}{mark}"
    return f"{text};{space}q={one.quality:.3f}"


@given(st.lists(ranges, min_size=1, max_size=6), st.booleans(), st.sampled_from(["", " ", "\t"]), st.sampled_from(",;"))
def test_what_is_written_is_read(wanted, quoted, space, separator) -> None:
    """Parameters in quotes or not, spaces or not, commas or the semicolons that some write: the same ranges."""
    assert accept_read(header=separator.join(written(one, quoted, space) for one in wanted)) == tuple(wanted)


@given(st.text(max_size=200), st.lists(st.text(max_size=50), max_size=3))
def test_garbage_is_an_answer_or_a_refusal(header, query) -> None:
    """Never another exception, whatever comes."""
    with contextlib.suppress(NotAcceptable):
        assert choose(header, FRAME, query) in FRAME


@given(st.lists(ranges, min_size=1, max_size=6), st.lists(st.sampled_from(FRAME), min_size=1, max_size=4))
def test_the_choice_is_the_best(wanted, offers) -> None:
    """No other offer has a higher quality, asked one by one; and adding `q=0` for the chosen form takes it away."""
    try:
        chosen = accept_choose(accepted=wanted, offers=offers)
    except NotAcceptable:
        for offer in offers:
            with pytest.raises(NotAcceptable):
                accept_choose(accepted=wanted, offers=[offer])
        return
    never = MediaRange("multipart/related", part=chosen.media_type, syntax=chosen.syntax, quality=0.0)
    others = [one for one in wanted if (one.kind, one.part, one.syntax) != (never.kind, never.part, never.syntax)]
    with contextlib.suppress(NotAcceptable):
        assert accept_choose(accepted=[*others, never], offers=offers) != chosen
