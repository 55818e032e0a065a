"""Videos and reels: the records of what was uploaded to be watched."""
