"""Protocol pieces without I/O: no coroutine, no clock, no log. Bytes and header texts in, values and events out.

Everything a client can send ends in a value or in a `RequestError`; nothing else leaves these modules.
"""
