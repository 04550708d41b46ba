"""Bytes: TCP, TLS, HTTP/1.1, HTTP/2 and websockets, on sans-IO libraries, since faults need control
of the connection: where it breaks, how slowly it speaks, when it says GOAWAY.
"""
