"""Wire formats: decode, encode, split streams. No I/O; codecs never mutate their input and may run again."""
