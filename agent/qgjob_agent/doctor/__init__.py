"""What keeps an agent from its work on this host, and what to do about it. It looks, and changes nothing."""
