"""Sharing: what leaves home and what comes in."""
