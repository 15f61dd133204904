"""The routes, one file for each kind of thing. They translate between HTTP and `dia.service`; nothing is decided here."""
