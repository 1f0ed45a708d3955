#!/usr/bin/env python3
"""A rendezvous server that lets nobody meet: server.py WORD IP:PORT ...

It says WORD to everybody who connects, and nothing at all if WORD is empty. With the word "crash" it ends by a signal
when the fourth has come.
"""

import json
import os
import select
import signal
import socket
import sys

word, *endpoints = sys.argv[1:]
listeners = []
for endpoint in endpoints:
    ip, port = endpoint.rsplit(":", 1)
    listeners.append(socket.create_server((ip, int(port))))
print(json.dumps({"event": "listening", "endpoints": endpoints}), flush=True)
guests = []
while True:
    for listener in select.select(listeners, [], [])[0]:
        guests.append(listener.accept()[0])
        if word != "crash":
            guests[-1].sendall(word.encode())
        elif len(guests) == 4:
            os.kill(os.getpid(), signal.SIGKILL)
