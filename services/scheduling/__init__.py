"""When a schedule is due, and that it is fired once."""
