"""Bytes in motion: uploads gathered into parts, downloads put in order, and the memory both may use."""
