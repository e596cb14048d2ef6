"""Vendor parts: what Debian does not ship, from vendors' apt repositories or release archives, checked before use."""
