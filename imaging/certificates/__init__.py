"""Whom a hospital trusts over TLS (PS3.15 B.9, B.12): its authority, client certificates of its nodes, what we show to others."""
