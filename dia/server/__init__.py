"""The HTTP door: routes, bodies, guards and start-up around `dia.service`. Knows no model and no codec."""
