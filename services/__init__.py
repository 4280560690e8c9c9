"""What a person or a program talks to: data, store, comparison, report, commands."""
