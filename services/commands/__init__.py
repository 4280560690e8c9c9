"""The subcommands of `basin`: one file for each group of them."""
