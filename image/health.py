"""Docker's health check: 0 while the gateway's process is well. Kubernetes asks the admin port itself."""

import os
import sys
from http.client import HTTPConnection, HTTPException

host, _, port = os.environ.get("AI_GATEWAY_ADMIN", ":9090").rpartition(":")
host = host.strip("[]")
if host in ("", "0.0.0.0", "::"):  # noqa: S104 - what every address means to a server; it is asked on loopback
    host = "127.0.0.1"
try:
    connection = HTTPConnection(host, int(port), timeout=3)
    connection.request("GET", "/livez")
    status = connection.getresponse().status
except (OSError, HTTPException) as error:
    sys.exit(f"no gateway answers at {host}:{port}: {error}")
sys.exit(0 if status == 200 else f"{host}:{port} answers {status}")
