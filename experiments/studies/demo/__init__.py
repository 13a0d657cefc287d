"""Demo: breast masses over five hospitals."""
