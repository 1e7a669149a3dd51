"""What workers and hosts share, in Redis 6.2 or newer, or Valkey."""
