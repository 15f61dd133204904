"""Long scripts as one recording: voices held from piece to piece, joins, loudness, projects on disk. No torch of its own.

The modules are the face of this room: `stream` (sound while it is made), `project` and `run` (a folder that survives),
`render` (a project to a file), `subtitles`; below them `casting`, `context`, `timing`, `ends`, `joins`, `levels`.
"""
