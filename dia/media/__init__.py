"""Audio files and bytes on one side, mono float32 waveforms on the other; numpy, soxr and PyAV, no torch.

The modules are the face of this room; nothing is imported here, so that naming one costs only that one.
"""

__all__ = ["encode", "formats", "loudness", "prompt_check", "read", "stretch", "trim"]
