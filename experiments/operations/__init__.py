"""Reports for whoever runs a hospital, from the predictions of a finished study: sums of the sites, as everything else."""
