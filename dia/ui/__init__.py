"""The page: a script editor, voices, takes and history over the service. Knows no model and no server."""
