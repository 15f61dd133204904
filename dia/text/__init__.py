"""What is said, before it is sound: scripts, tags, bytes and plans. Plain Python; knows no tensor and no waveform.

Import from the modules: `script` (one pass of the model), `tokens` (bytes), `nonverbals`, and for texts of any length
`planner` (with `plan`, `limits`, `pace`, `formats`, `roles`, `pauses`, `sentences`, `typography`).
"""
