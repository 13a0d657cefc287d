"""What a study would cost its patients in privacy and its model in noise, shown before anything runs."""
