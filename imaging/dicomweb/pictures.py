"""What a rendered picture is to look like and how it is written (PS3.18 8.3.5, 10.4.1.1.2): parameters, viewport, JPEG, PNG, GIF.

`imaging.dicomweb.rendered` asks. Nothing here touches the database or HTTP.
"""

import io
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw

MAX_SIDE = 4096
QUALITY = 90
THUMBNAIL = 128
JPEG, PNG, GIF = "image/jpeg", "image/png", "image/gif"
ANNOTATIONS = frozenset(("patient", "technique"))
PROFILES = frozenset(("no", "yes", "srgb", "adobergb", "rommrgb"))
_FUNCTIONS = {"linear": "LINEAR", "linear-exact": "LINEAR_EXACT", "sigmoid": "SIGMOID"}
_DECIMAL = re.compile(r"[+-]?(?:[0-9]{1,9}(?:\.[0-9]{0,9})?|\.[0-9]{1,9})(?:[eE][+-]?[0-9]{1,2})?")
_PARAMETERS = frozenset(("window", "viewport", "quality", "annotation", "iccprofile", "accept"))


class ParameterError(Exception):
    """A parameter cannot be read; `text` says which and what it should be, without the value. Doors answer 400."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text


class Viewport(NamedTuple):
    """`vw,vh[,sx,sy,sw,sh]`: the source region is fitted into width x height; a negative side flips (PS3.18 8.3.5.1.3)."""

    width: int
    height: int
    left: float = 0.0
    top: float = 0.0
    across: float | None = None
    down: float | None = None


@dataclass(frozen=True, slots=True)
class Look:
    """How a picture was asked for; `warnings` are what is not done of it."""

    window: tuple[float, float] | None = None
    function: str = ""
    viewport: Viewport | None = None
    quality: int = QUALITY
    warnings: tuple[str, ...] = ()

    @property
    def mark(self) -> str:
        """Differs whenever the picture does."""
        return repr((self.window, self.function, self.viewport, self.quality))


def look_read(query: Mapping[str, str], *, is_thumbnail: bool = False) -> Look:
    """The parameters of the address. Raises ParameterError. A thumbnail takes a viewport of a size only (PS3.18 10.4.1.1.3)."""
    warnings = [f"the parameter {_safe(name)} is not known here" for name in sorted(set(query) - _PARAMETERS)[:5]]
    warnings += _not_done(query)
    viewport = _viewport(query["viewport"], is_thumbnail=is_thumbnail) if query.get("viewport") else None
    if is_thumbnail and viewport is None:
        viewport = Viewport(THUMBNAIL, THUMBNAIL)
    window, function = _window(query["window"]) if query.get("window") else (None, "")
    quality = QUALITY
    if query.get("quality"):
        text = query["quality"]
        if not re.fullmatch(r"[0-9]{1,3}", text) or not 1 <= int(text) <= 100:
            raise ParameterError("quality is a whole number from 1 to 100")
        quality = int(text)
    return Look(window, function, viewport, quality, tuple(warnings))


def _safe(name: str) -> str:
    """A name that may be repeated in a header."""
    return name if re.fullmatch(r"[A-Za-z0-9_.-]{1,32}", name) else "with an odd name"


def _not_done(query: Mapping[str, str]) -> list[str]:
    found = []
    if query.get("annotation"):
        if not set(query["annotation"].lower().split(",")) <= ANNOTATIONS:
            raise ParameterError("annotation is patient, technique, or both with a comma")
        found.append("annotation is not burned into the picture")
    profile = query.get("iccprofile", "").lower()
    if profile and profile not in PROFILES:
        raise ParameterError("iccprofile is no, yes, srgb, adobergb or rommrgb")
    if profile not in ("", "no"):
        found.append("no ICC profile is embedded; the picture is meant as sRGB")
    return found


def _number(text: str, name: str) -> float:
    if not _DECIMAL.fullmatch(text):
        raise ParameterError(f"{name} has a number that cannot be read")
    found = float(text)
    if not math.isfinite(found) or abs(found) > 1e12:
        raise ParameterError(f"{name} has a number that cannot be read")
    return found


def _window(text: str) -> tuple[tuple[float, float], str]:
    """`center,width,function` (PS3.18 8.3.5.1.4); without a function it is linear, as most clients mean it."""
    pieces = [piece.strip() for piece in text.split(",")]
    if len(pieces) not in (2, 3):
        raise ParameterError("window is center,width,function")
    center, width = _number(pieces[0], "window"), _number(pieces[1], "window")
    function = _FUNCTIONS.get(pieces[2].lower() if len(pieces) == 3 else "linear")
    if function is None:
        raise ParameterError("the function of window is linear, linear-exact or sigmoid")
    if width <= 0 or (function == "LINEAR" and width < 1):
        raise ParameterError("the width of window is 1 or more, for linear-exact and sigmoid above 0")
    return (center, width), function


def _viewport(text: str, *, is_thumbnail: bool) -> Viewport:
    pieces = [piece.strip() for piece in text.split(",")]
    if not 2 <= len(pieces) <= 6 or (is_thumbnail and len(pieces) != 2):
        raise ParameterError("viewport is vw,vh" if is_thumbnail else "viewport is vw,vh,sx,sy,sw,sh, the last four optional")
    sides = [int(piece) if re.fullmatch(r"[0-9]{1,5}", piece) else 0 for piece in pieces[:2]]
    if not all(1 <= side <= MAX_SIDE for side in sides):
        raise ParameterError(f"the sides of viewport are whole numbers from 1 to {MAX_SIDE}")
    left, top, across, down = (_number(piece, "viewport") if piece else None for piece in [*pieces[2:], *[""] * 4][:4])
    if min(left or 0, top or 0) < 0 or across == 0 or down == 0:
        raise ParameterError("the region of viewport begins inside the picture and has two sides")
    return Viewport(sides[0], sides[1], left or 0.0, top or 0.0, across, down)


def picture_fit(shown: np.ndarray, viewport: Viewport | None) -> Image.Image:
    """The region, flipped where asked, scaled into the viewport with its proportions kept. Raises ParameterError outside."""
    image = Image.fromarray(shown)
    if viewport is None:
        return image
    width, height = image.size
    across = viewport.across if viewport.across is not None else width - viewport.left
    down = viewport.down if viewport.down is not None else height - viewport.top
    right, bottom = min(viewport.left + abs(across), width), min(viewport.top + abs(down), height)
    if right - viewport.left < 1 or bottom - viewport.top < 1:
        raise ParameterError("the region of viewport lies outside of the picture")
    box = (viewport.left, viewport.top, right, bottom)
    scale = min(viewport.width / (right - viewport.left), viewport.height / (bottom - viewport.top))
    size = tuple(max(1, round(side * scale)) for side in (right - viewport.left, bottom - viewport.top))
    # Far smaller: whole pixels are averaged first, several times faster and without aliasing.
    image = image.resize(size, Image.Resampling.BILINEAR, box=box, reducing_gap=2.0)
    if across < 0:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    if down < 0:
        image = image.transpose(Image.Transpose.FLIP_TOP_BOTTOM)
    return image


def picture_write(images: Sequence[Image.Image], *, kind: str, quality: int = QUALITY, milliseconds: int = 66) -> bytes:
    """The bytes of a picture; of several images an animated GIF that begins again."""
    target = io.BytesIO()
    if kind == JPEG:
        images[0].save(target, "JPEG", quality=quality)
    elif kind == PNG:
        images[0].save(target, "PNG", compress_level=1)
    else:
        more = {"save_all": True, "append_images": images[1:], "duration": milliseconds, "loop": 0} if len(images) > 1 else {}
        images[0].save(target, "GIF", **more)
    return target.getvalue()


def sheet_draw(viewport: Viewport) -> Image.Image:
    """A sheet of paper, for objects that are no picture: a report, a document, a film."""
    width, height = viewport.width, viewport.height
    image = Image.new("L", (width, height), 32)
    side = min(width, height)
    left, top, across, down = (width - side * 0.5) / 2, (height - side * 0.64) / 2, side * 0.5, side * 0.64
    draw = ImageDraw.Draw(image)
    draw.rectangle((left, top, left + across, top + down), fill=200)
    for line in range(4):
        y = top + down * (0.2 + 0.18 * line)
        draw.line((left + across * 0.15, y, left + across * (0.85 if line < 3 else 0.55), y), fill=90, width=max(1, side // 48))
    return image
