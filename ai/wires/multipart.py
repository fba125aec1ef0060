"""multipart/related (RFC 2387) of DICOM objects that come, file by file; what goes out is `imaging.webout.multipart`."""

from email.message import Message
from pathlib import Path
from typing import BinaryIO

from multipart import MultipartError, MultipartSegment, PushMultipartParser

from ai.contract import PlatformError

CHUNK = 1024 * 1024
MAX_HEADER = 8192


class _Related(PushMultipartParser):  # type: ignore[misc]
    """Parts of multipart/related carry no Content-Disposition."""

    def _create_segment(self, headerlist: list[tuple[str, str]]) -> MultipartSegment:
        return MultipartSegment(headerlist)


def objects_split(source: Path, content_type: str, folder: Path, *, prefix: str, max_parts: int) -> list[Path]:
    """The parts of an answer kept in `source`, one file each, unread: the gate says whether they are DICOM objects, and keeps those
    that are none. A bare application/dicom is its own object.

    Raises PlatformError when it is no such answer, or one of more than `max_parts`.
    """
    message = Message()
    message["content-type"] = content_type
    boundary = message.get_param("boundary")
    if message.get_content_type() == "application/dicom":
        target = folder / f"{prefix}-0.dcm"
        source.rename(target)
        found = [target]
    elif message.get_content_type() == "multipart/related" and isinstance(boundary, str):
        found = _split(source, boundary, folder, prefix, max_parts)
    else:
        raise PlatformError("the platform's answer holds no DICOM objects", is_permanent=False)
    return found


def _split(source: Path, boundary: str, folder: Path, prefix: str, max_parts: int) -> list[Path]:
    found: list[Path] = []
    target: BinaryIO | None = None
    try:
        parser = _Related(boundary, max_header_size=MAX_HEADER)
        with source.open("rb") as file:
            for event in parser.parse_blocking(file.read, chunk_size=CHUNK):
                if isinstance(event, MultipartSegment):
                    if len(found) == max_parts:
                        raise PlatformError(f"the platform's answer holds more than {max_parts} objects", is_permanent=True)
                    found.append(folder / f"{prefix}-{len(found)}.dcm")
                    target = found[-1].open("wb")
                elif event is None and target is not None:
                    target.close()
                elif event and target is not None:
                    target.write(event)
    except MultipartError as error:
        raise PlatformError("the platform's answer is cut off or no multipart", is_permanent=False) from error
    finally:
        if target is not None:
            target.close()
    return found
