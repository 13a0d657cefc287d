"""What runs in a hospital. The only package that can name a patient."""
