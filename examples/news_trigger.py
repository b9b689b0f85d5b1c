"""Turns messages of any topic, of news or of a calendar, into search requests with a cause.

python examples/news_trigger.py 127.0.0.1:9092 market-news examples/request.json desk-7

Each message that names one of the request's tickers asks for a challenger of the ensemble (desk-7 here). With a policy
on that ensemble, what comes inside its cool-down joins the first one instead of being searched for by itself.
"""

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

from confluent_kafka import Consumer, Message, Producer


def successor(message: Message, template: dict[str, Any], ensemble: str) -> dict[str, Any] | None:
    """The request that a message gives rise to; None: it names no ticker of ours. Read again, it gives the same one."""
    text = (message.value() or b"").decode(errors="replace")
    tickers = [ticker for ticker in template["tickers"] if ticker in text.split()]
    if not tickers:
        return None
    place = f"{message.topic()}-{message.partition()}-{message.offset()}"
    return template | {
        "request_id": f"news-{hashlib.sha256(place.encode()).hexdigest()[:32]}",
        "requested_by": "news",
        "cause": {"kind": "outside", "source": place, "tickers": tickers, "text": text[:500]},
        "deploy": {"auto": True, "ensemble_name": ensemble, "mode": "shadow", "gate": False},
    }


def main(bootstrap: str, topic: str, template: dict[str, Any], ensemble: str) -> None:
    reading = {"group.id": f"news-trigger-{ensemble}", "enable.auto.commit": False, "auto.offset.reset": "latest"}
    consumer = Consumer({"bootstrap.servers": bootstrap} | reading)
    producer = Producer({"bootstrap.servers": bootstrap, "acks": "all", "enable.idempotence": True})
    consumer.subscribe([topic])
    while True:
        message = consumer.poll(1.0)
        if message is None or message.error() is not None:
            continue
        request = successor(message, template, ensemble)
        if request is not None:
            producer.produce("search-requests", key=request["request_id"], value=json.dumps(request))
            if producer.flush(30):
                raise SystemExit("the broker did not acknowledge the request")
            print(request["request_id"], flush=True)
        # Only now: after a crash the message is read again, and gives the same request.
        consumer.commit(message=message, asynchronous=False)


if __name__ == "__main__":
    if len(sys.argv) != 5:
        raise SystemExit(__doc__)
    main(sys.argv[1], sys.argv[2], json.loads(Path(sys.argv[3]).read_text()), sys.argv[4])
