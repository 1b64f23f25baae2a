"""What the desk's pages read.  Every query has a bound, and takes the indexes and the stored sums."""
