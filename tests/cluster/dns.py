"""One question to the cluster's DNS, to see that it answers."""

import socket

_NAME = "kubernetes.default.svc.cluster.local"
_HEADER = bytes.fromhex("0001 0100 0001 0000 0000 0000")  # RFC 1035, 4.1.1: one question, recursion desired
_TYPE_A_CLASS_IN = bytes.fromhex("0001 0001")
_ANSWER_SECONDS = 0.3


def resolves(server: str) -> bool:
    """Whether the DNS server at that address knows the Service of the API."""
    name = b"".join(bytes([len(label)]) + label.encode() for label in _NAME.split(".")) + b"\0"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        asking.settimeout(_ANSWER_SECONDS)
        try:
            asking.sendto(_HEADER + name + _TYPE_A_CLASS_IN, (server, 53))
            answer = asking.recv(512)
        except OSError:
            return False
    return int.from_bytes(answer[6:8]) > 0  # the number of answers
