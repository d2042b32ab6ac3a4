"""What every endpoint of the API has in common; settings make it the default, views say nothing."""
