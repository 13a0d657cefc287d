"""Sites that lie about their updates, and what each way of combining updates makes of them: simulations only."""
