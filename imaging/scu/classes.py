"""Storage classes that a modality makes (PS3.4 B.5): what a C-GET offers to a node that does not tell an image's own class.

dcmtk's archive is one of those. A class that is not here is not sent to us by such a node, and the failure says so.
"""

_ROOT = "1.2.840.10008.5.1.4.1.1."
BY_MODALITY = {
    "CR": ("1",), "DX": ("1.1", "1.1.1"), "MG": ("1.2", "1.2.1", "13.1.3"), "IO": ("1.3", "1.3.1"), "PX": ("1.1", "1.1.1"),
    "CT": ("2", "2.1", "2.2"), "MR": ("4", "4.1", "4.2", "4.4"), "US": ("6.1", "3.1", "6.2"), "IVUS": ("6.1", "3.1"),
    "NM": ("20",), "PT": ("128", "130", "128.1"), "XA": ("12.1", "12.1.1"), "RF": ("12.2", "12.2.1"), "SM": ("77.1.6", "77.1.3"),
    "OP": ("77.1.5.1", "77.1.5.2"), "OPT": ("77.1.5.4",), "ES": ("77.1.1", "77.1.1.1"), "XC": ("77.1.4", "77.1.4.1"),
    "GM": ("77.1.2", "77.1.2.1"), "ECG": ("9.1.1", "9.1.2"), "HD": ("9.2.1",), "SR": ("88.11", "88.22", "88.33", "88.34", "88.67"),
    "KO": ("88.59",), "PR": ("11.1", "11.2", "11.3"), "SEG": ("66.4", "66.5"), "REG": ("66.1", "66.3"), "DOC": ("104.1", "104.2"),
    "RTIMAGE": ("481.1",), "RTDOSE": ("481.2",), "RTSTRUCT": ("481.3",), "RTPLAN": ("481.5", "481.8"), "RTRECORD": ("481.4",),
}  # fmt: skip
ANYWHERE = ("7", "7.1", "7.2", "7.3", "7.4", "66", "104.1", "88.22", "88.33")  # secondary capture, raw data, PDF, reports


def classes_guess(modality: str) -> tuple[str, ...]:
    """UIDs of the classes of a modality and of those that any makes; of an unknown modality those of the commonest ones."""
    known = BY_MODALITY.get(modality)
    own = known if known is not None else tuple(dict.fromkeys(suffix for found in BY_MODALITY.values() for suffix in found))
    return tuple(dict.fromkeys(_ROOT + suffix for suffix in (*own, *ANYWHERE)))
