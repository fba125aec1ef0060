"""Chat completion, OpenAI style, at /chat/v1 (bearer key, rate limit). The "model" repeats the findings of its prompt as sentences."""

import json
import threading
import time
from typing import Any

from sandbox.http import Refusal, Reply, Request, Router, json_reply
from sandbox.vendors.proofs import key_check
from sandbox.vendors.world import World

MODEL = "medhub-double-1"
START, END = "<findings>", "</findings>"


def mount(router: Router, world: World) -> None:
    limit = RateLimit(per_minute=600)

    def chat(request: Request) -> Reply:
        key_check(request, world.credentials.chat_key)
        left = limit.take()
        return completion(request.json, world, X_RateLimit_Limit="600", X_RateLimit_Remaining=str(left))

    def models(request: Request) -> Reply:
        key_check(request, world.credentials.chat_key)
        return json_reply({"object": "list", "data": [{"id": MODEL, "object": "model"}]})

    router.add("POST", "/chat/v1/chat/completions", chat)
    router.add("GET", "/chat/v1/models", models)


class RateLimit:
    """So many requests a minute; one more is 429 with the headers that say when."""

    def __init__(self, per_minute: int) -> None:
        self._size, self._lock = per_minute, threading.Lock()
        self._minute, self._used = 0, 0

    def take(self) -> int:
        with self._lock:
            minute = int(time.time() // 60)
            if minute != self._minute:
                self._minute, self._used = minute, 0
            self._used += 1
            if self._used > self._size:
                raise Refusal(429, "slower", **{"Retry-After": "5", "X-RateLimit-Remaining": "0"})
            return self._size - self._used


def completion(body: Any, world: World, **headers: str) -> Reply:
    """A chat completion; a Refusal of 400 for a body that is none."""
    messages = body.get("messages") if isinstance(body, dict) else None
    if not isinstance(messages, list) or not all(isinstance(one, dict) and {"role", "content"} <= one.keys() for one in messages):
        raise Refusal(400, "messages are missing")
    if not (body.get("model") or body.get("model_id")):
        raise Refusal(400, "no model is named")
    asked = str(messages[-1]["content"])
    text = sentences(asked)
    if world.faults.take("invent"):
        text += " There is a nodule of 7 mm."
    if world.faults.take("negate"):
        text += " No pneumothorax."
    usage = {"prompt_tokens": len(asked) // 4, "completion_tokens": len(text) // 4, "total_tokens": (len(asked) + len(text)) // 4}
    answer = {
        "id": "c-1", "object": "chat.completion", "created": int(time.time()), "model": MODEL,
        "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
        "usage": usage, "backend": {"engine": "double"},
    }  # fmt: skip
    return json_reply(answer, **headers)


def sentences(asked: str) -> str:
    """What stands between the marks of the prompt, in sentences, number by number."""
    start, end = asked.rfind(START), asked.rfind(END)
    if start < 0 or end < start:
        raise Refusal(400, "there are no findings to word")
    said = json.loads(asked[start + len(START) : end])
    words = [f"{one['name']} {one['value']} {one['unit']}".strip() for one in said["measurements"]]
    words += [" ".join(part for part in (one["name"], one.get("value", "")) if part) for one in said.get("findings", ())]
    return "; ".join(words) + "." if words else f"Not analysable: {said.get('not_analysable', '')}."
