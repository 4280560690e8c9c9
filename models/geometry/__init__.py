"""Loss-landscape geometry on a `Landscape`, one family of measures per file."""
