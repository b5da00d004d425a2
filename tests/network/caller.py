"""Runs in a container beside the grid: a line of JSON in, with calls; a line out, with their answers.

First line: {"host", "port", "authority"}. Then lists of {"method", "path", "token", "json" or "text"}; each answer is
{"status", "body"}, and status 0 when there was none. The calls of one line share a connection.
"""

from __future__ import annotations

import http.client
import json
import ssl
import sys
from typing import Any

TIMEOUT_S = 45.0  # longer than any long poll


def answers(connection: http.client.HTTPSConnection, calls: list[dict[str, Any]]) -> list[dict[str, Any]]:
    try:
        return [answer(connection, call) for call in calls]
    except (OSError, http.client.HTTPException) as exc:
        return [{"status": 0, "body": repr(exc)}] * len(calls)
    finally:
        connection.close()


def answer(connection: http.client.HTTPSConnection, call: dict[str, Any]) -> dict[str, Any]:
    headers = {"Authorization": f"Bearer {call['token']}"} if call.get("token") else {}
    body = call["text"].encode() if "text" in call else json.dumps(call.get("json")).encode()
    connection.request(call["method"], call["path"], body if call["method"] in ("POST", "PUT") else None, headers)
    response = connection.getresponse()
    content = response.read().decode(errors="replace")
    is_json = response.headers.get_content_type() == "application/json"
    return {"status": response.status, "body": json.loads(content) if is_json else content}


def main() -> None:
    known = json.loads(sys.stdin.readline())
    context = ssl.create_default_context(cadata=known["authority"])
    for line in sys.stdin:
        connection = http.client.HTTPSConnection(known["host"], known["port"], timeout=TIMEOUT_S, context=context)
        sys.stdout.write(json.dumps(answers(connection, json.loads(line))) + "\n")
        sys.stdout.flush()


main()
