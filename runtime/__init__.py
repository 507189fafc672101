"""What every process stands on. No word of backup in here."""
