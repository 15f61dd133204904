"""Codes that are measured, not learnt: the analysis of sound, and the codebooks that quantise it."""
