"""Produces a search request with nothing but a Kafka client.

python examples/produce_request.py 127.0.0.1:9092 AAPL IBM
"""

import json
import sys
import uuid

from confluent_kafka import Producer


def main(bootstrap: str, tickers: list[str]) -> None:
    request_id = f"example-{uuid.uuid4()}"
    request = {
        "request_id": request_id,
        "strategy": "grid",
        "algorithm": "elasticnet",
        "tickers": tickers,
        "timeframe": "1d",
        "param_grid": {"alpha": [0.001, 0.01, 0.03], "l1_ratio": [0.1, 0.5, 0.9]},
    }
    producer = Producer({"bootstrap.servers": bootstrap, "acks": "all", "enable.idempotence": True})
    producer.produce("search-requests", key=request_id, value=json.dumps(request))
    if producer.flush(30):
        raise SystemExit("the broker did not acknowledge the request")
    print(request_id)


if __name__ == "__main__":
    if len(sys.argv) < 3:
        raise SystemExit(__doc__)
    main(sys.argv[1], sys.argv[2:])
