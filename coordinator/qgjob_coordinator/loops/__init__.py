"""What time and wake-ups drive: snapshot, plan, commit."""
