"""HTTP alone: routes, guard and formats. What a command or the client needs, too, is in `services`."""
