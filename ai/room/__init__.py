"""What lasts from one step of a job to the next: its volume, an address for that, a request that takes minutes. Ends with the job."""
