"""What is asked of one fit, what it says meanwhile, and what it hands back."""
