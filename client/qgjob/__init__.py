"""Client library and CLI of qgjob."""
