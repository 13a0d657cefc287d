"""What all parties agree on. No framework, no clock, no environment, no network; see docs/architecture.md."""
