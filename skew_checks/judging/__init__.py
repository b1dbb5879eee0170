"""Served and offline values side by side: what differs, counted in units that are independent."""
