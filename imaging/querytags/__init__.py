"""Attributes that a hospital asks for beyond the standard keys: declared (`declare`), known to who asks and indexes (`known`),
read for what was stored before and removed again (`run`)."""
