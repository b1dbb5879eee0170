"""What a check found: the object that page, formats, history, gates and benchmark share."""
