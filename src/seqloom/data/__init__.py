"""Tables in, segments out: reading, checking, splitting and cutting."""
