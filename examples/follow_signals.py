"""Follows signals as a trading engine would, with nothing but a Kafka client: act once, only while valid, by target.

python examples/follow_signals.py 127.0.0.1:9092 ENSEMBLE [MOST_SIGNALS] [TOPIC]
"""

import json
import sys
from datetime import UTC, datetime

from confluent_kafka import Consumer


def main(bootstrap: str, ensemble: str, most: int, topic: str) -> None:
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "example-engine", "auto.offset.reset": "earliest"})
    consumer.subscribe([topic])
    seen: set[str] = set()
    held: dict[str, int] = {}
    try:
        while len(seen) < most:
            message = consumer.poll(1.0)
            if message is None or message.error():
                continue
            signal = json.loads(message.value() or b"{}")
            if signal.get("kind") != "signal" or signal["ensemble"] != ensemble or signal["id"] in seen:
                continue  # a tick without a signal; an ensemble that this engine does not follow; a redelivery
            seen.add(signal["id"])
            target, ticker = signal["target_position"], signal["ticker"]
            # Times are RFC 3339 in UTC with microseconds, so their text sorts as they do.
            now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
            replayed = signal["mode"] == "replay"
            if target is None or (signal["valid_until"] < now and not replayed):
                continue  # no opinion; too late to act on
            held[ticker] = target
            print(signal["event_time"], ticker, signal["signal"], f"hold {target:+d}", f"by {signal['ensemble']}")
    except KeyboardInterrupt:
        pass
    finally:
        consumer.close()
    print(json.dumps({"signals": len(seen), "held": held}))


if __name__ == "__main__":
    if len(sys.argv) < 3:
        raise SystemExit(__doc__)
    most = int(sys.argv[3]) if len(sys.argv) > 3 else sys.maxsize
    main(sys.argv[1], sys.argv[2], most, *(sys.argv[4:] or ["signals"]))
