"""Words that people use for a chest scan, and for scans of other parts; used by the algorithms that measure chests."""

from quantify.gate import whole_words

# THORACIC is left out because "thoracic spine" is no lung scan.
CHEST_WORDS = whole_words(
    "CHEST", "THORAX", "LUNGS?", "PULMONARY", "HRCT", "TORAX", "TÓRAX", "LUNGE", "POUMONS?", "PULMON", "PULMÓN", "POLMON[EI]"
)
ELSEWHERE_WORDS = whole_words(
    "HEAD", "BRAIN", "SKULL", "CRANIUM", "CRANIAL", "NEURO", "SINUS", "SINUSES", "ORBITS?", "FACE", "NECK", "CAROTID",
    "[CL]?SPINE", "LUMBAR", "ABDOMEN", "ABDOMINAL", "LIVER", "KIDNEYS?", "PELVIS", "HIPS?", "KNEES?", "ANKLE", "FOOT", "WRIST",
    "HAND", "ELBOW", "SHOULDER", "FEMUR", "LEG", "ARM", "KOPF", "SCHÄDEL", "HIRN", "HALS", "BECKEN", "TETE", "TÊTE", "CRANE",
    "CRÂNE", "CEREBRAL", "CRANEO", "CRÁNEO",
)  # fmt: skip
