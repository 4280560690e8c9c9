"""Basin over HTTP: routes alone. What a command or a client would need as well is elsewhere in `services`."""
