"""Runs, measurements and tables as objects in a folder or a bucket."""
