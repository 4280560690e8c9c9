"""A person's table as arrays: what is asked of it, how it is split, what is made of its columns."""
