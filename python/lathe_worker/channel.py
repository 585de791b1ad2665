"""Frames over the socket: a header of 24 bytes (kind, sizes of head and body, nanoseconds), head, body."""

import os
import socket
import struct

READY, FAILED, PARKED, IMPORTED = 1, 2, 3, 4
PARK, WAKE = 8, 9
SCORE, INVOCATIONS, INFER = 16, 17, 18

_HEADER = struct.Struct("=IIQQ")
_ROOM = 65536


class Channel:
    def __init__(self):
        """Takes standard input away from the model, which finds it empty."""
        self._socket = socket.socket(fileno=os.dup(0))
        self._socket.setblocking(True)
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.close(nothing)
        self._buffer = bytearray(_ROOM)
        self._kept = 0  # bytes at its beginning that are the next frame's

    def send(self, kind, head=b"", body=b"", nanoseconds=0):
        pieces = [_HEADER.pack(kind, len(head), len(body), nanoseconds), head, body]
        sent = self._socket.sendmsg(pieces)
        if sent < _HEADER.size + len(head) + len(body):
            self._socket.sendall(b"".join(pieces)[sent:])

    def receive(self):
        """(kind, head, body) of the next frame; None at the end."""
        buffer = self._buffer
        have = self._kept or self._socket.recv_into(buffer)
        while have < _HEADER.size:
            more = self._socket.recv_into(memoryview(buffer)[have:])
            if not more:
                return None
            have += more
        kind, head_size, body_size, _ = _HEADER.unpack_from(buffer)
        size = _HEADER.size + head_size + body_size
        if size > len(buffer):
            buffer = bytearray(size)
            buffer[:have] = self._buffer[:have]
        view = memoryview(buffer)
        while have < size:
            more = self._socket.recv_into(view[have:size])
            if not more:
                return None
            have += more
        begin = _HEADER.size + head_size
        head, body = bytes(view[_HEADER.size:begin]), bytes(view[begin:size])
        self._kept = max(0, have - size)
        if self._kept:
            buffer[:self._kept] = view[size:have]
        return kind, head, body
