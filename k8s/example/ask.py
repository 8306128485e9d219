"""Asks for one sentence, with nothing but what the OpenAI clients read from the environment, too."""

import json
import os
import signal
import sys
import time
from urllib.request import Request, urlopen

ANSWER_SECONDS = 600.0


def ask(question: str) -> str:
    """The model's answer."""
    message = {"role": "user", "content": question}
    body = json.dumps({"model": os.environ["MODEL"], "messages": [message], "max_tokens": 40}).encode()
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {os.environ['OPENAI_API_KEY']}"}
    request = Request(f"{os.environ['OPENAI_BASE_URL']}/chat/completions", body, headers)  # noqa: S310 - the URL is the pod's own setting
    with urlopen(request, timeout=ANSWER_SECONDS) as reply:  # noqa: S310 - as above
        return json.load(reply)["choices"][0]["message"]["content"]


signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # the first process of a container has no handler of its own
seconds = float(sys.argv[1]) if len(sys.argv) > 1 else None  # between two questions; none: only one
while True:
    print(ask("Say something short."), flush=True)
    if seconds is None:
        break
    time.sleep(seconds)
