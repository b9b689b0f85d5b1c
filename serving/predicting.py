"""Predictions over HTTP: a request to an ensemble's replica in, a prediction or a problem out."""

import logging
import time
from http import HTTPStatus

import numpy as np
from starlette.requests import Request
from starlette.responses import Response

from orchestrator.core.access import CHALLENGE, LOOPBACK, host_name, offered_key, opens, origin_host
from orchestrator.core.errors import Refused
from orchestrator.core.position import position
from schemas.base import Message, Reason
from schemas.envelope import Undecodable, decode
from schemas.predictions import Prediction, PredictionRequest, Problem
from schemas.signals import Vote
from serving.answer import BatchAnswer, FeatureBatch
from serving.succession import Succession
from serving.version import LoadedVersion

_log = logging.getLogger(__name__)

LARGEST_BODY = 2**20
_SIDES = {1: "BUY", -1: "SELL", 0: "HOLD"}


class NotPredicted(Refused):
    """There is no prediction."""

    status = HTTPStatus.UNPROCESSABLE_ENTITY


class Foreign(NotPredicted):
    """The request comes by another name than this machine's own, or from another site's page."""

    status = HTTPStatus.FORBIDDEN


class KeyMissing(NotPredicted):
    """The request shows no key, or a wrong one."""

    status = HTTPStatus.UNAUTHORIZED


class NoSuchPlace(NotPredicted):
    """Nothing answers there."""

    status = HTTPStatus.NOT_FOUND


class WrongMethod(NotPredicted):
    """Only POST is answered."""

    status = HTTPStatus.METHOD_NOT_ALLOWED


class TooLarge(NotPredicted):
    """The body is longer than any features take."""

    status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE


class Malformed(NotPredicted):
    """The body is no request for a prediction."""

    status = HTTPStatus.BAD_REQUEST


class Broken(NotPredicted):
    """A model goes wrong."""

    status = HTTPStatus.INTERNAL_SERVER_ERROR


class NoVersion(NotPredicted):
    """No version answers now."""

    status = HTTPStatus.SERVICE_UNAVAILABLE


async def respond(request: Request, succession: Succession | None, key_digest: str | None = None) -> Response:
    """The response to a request; whatever is wrong with it is told as problem details (RFC 9457).

    Args:
        request: to this ensemble.
        succession: its versions; None: none answers.
        key_digest: of the key that callers must show; None: they show none, and call by the loopback's names.
    """
    try:
        _judge_caller(request, key_digest)
        body = await _body(request)
        if succession is None:
            raise NoVersion([Reason(code="not_serving", message="no version answers yet; ask again in a moment")])
        return _written(predict(_read(body), succession, time.monotonic()), HTTPStatus.OK)
    except NotPredicted as refused:
        return _refused(refused)
    except Exception:  # noqa: BLE001 - a model may raise anything, and whoever asks is not shown the inside of it
        _log.exception("no prediction")
        message = "the ensemble's models cannot answer this; the replica's log tells why"
        return _refused(Broken([Reason(code="prediction_failed", message=message)]))


def predict(asked: PredictionRequest, succession: Succession, now: float) -> Prediction:
    """What an ensemble says to the features of one bar; nothing is held before.

    Raises:
        NotPredicted: the ensemble does not cover what is asked, or features are missing.
    """
    loaded = succession.answering
    ticker = _covered(asked, loaded)
    lacking = [name for name in loaded.panels[ticker].feature_names if asked.features.get(name) is None]
    if lacking:
        message = f"{ticker} needs {len(lacking)} more features: {', '.join(lacking)}"[:4096]
        raise NotPredicted([Reason(code="missing_feature", where="/features", message=message)])
    given = {name: value for name, value in asked.features.items() if value is not None}
    batch = FeatureBatch(
        timeframe=loaded.manifest.timeframe,
        tickers=(ticker,),
        names=tuple(given),
        matrix=np.array([[*given.values()]], dtype=np.float64),
        event_time=np.array(["NaT"], dtype="datetime64[us]"),
        bound=np.zeros(1, dtype=np.bool_),
    )
    (part,) = succession.answer(batch, now)
    return _prediction(part.answer, ticker, loaded.manifest.timeframe)


def _judge_caller(request: Request, key_digest: str | None) -> None:
    """Refuse who has no key, what a page of another site has a browser send, and what is sent to another place.

    A page cannot show the key, whatever name it gives this machine: so where there is one, any name will do.

    Raises:
        NotPredicted: it is such a request.
    """
    host, origin = request.headers.get("host", ""), request.headers.get("origin")
    if key_digest is None and host_name(host) not in LOOPBACK:
        message = f"the host {host} is none of this machine's own names: send it to localhost"
        raise Foreign([Reason(code="foreign_host", where="Host", message=message[:4096])])
    if origin is not None and not _own_page(origin, host):
        message = f"pages of {origin} may not ask here"
        raise Foreign([Reason(code="foreign_origin", where="Origin", message=message[:4096])])
    if key_digest is not None and not opens(offered_key(request.headers), key_digest):
        message = "send the service's API_KEY as `Authorization: Bearer KEY` or `X-API-Key: KEY`"
        raise KeyMissing([Reason(code="no_key", where="Authorization", message=message)])
    place = request.url.path.removeprefix(request.scope.get("root_path", ""))
    if place not in ("", "/"):
        raise NoSuchPlace([Reason(code="no_such_place", message="ask POST /{ensemble}, and nothing below it")])
    if request.method != "POST":
        message = f"{request.method} is not answered: POST the features"
        raise WrongMethod([Reason(code="wrong_method", message=message)])


def _own_page(origin: str, host: str) -> bool:
    page = origin_host(origin)
    return page is not None and (page == host.lower() or host_name(page) in LOOPBACK)


async def _body(request: Request) -> bytes:
    """The body, which need not say of what type it is.

    Raises:
        TooLarge: it is longer than allowed; the rest is not read.
    """
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > LARGEST_BODY:
            message = f"the body is longer than {LARGEST_BODY} bytes: send one bar's features"
            raise TooLarge([Reason(code="too_large", message=message)])
    return bytes(body)


def _read(body: bytes) -> PredictionRequest:
    try:
        asked: PredictionRequest = decode(PredictionRequest, body)
    except Undecodable as error:
        raise Malformed(error.reasons) from error
    return asked


def _covered(asked: PredictionRequest, loaded: LoadedVersion) -> str:
    """The ticker that is asked about.

    Raises:
        NotPredicted: the ensemble does not cover it, or none is named of several.
    """
    timeframe, tickers = loaded.manifest.timeframe, sorted(loaded.panels)
    if asked.timeframe not in (None, timeframe):
        message = f"{loaded.served.ensemble} answers bars of {timeframe}, not of {asked.timeframe}"
        raise NotPredicted([Reason(code="unknown_timeframe", where="/timeframe", message=message)])
    known = ", ".join(tickers)[:2000]
    if asked.ticker is None and len(tickers) > 1:
        message = f"{loaded.served.ensemble} covers {known}: say which of them"
        raise NotPredicted([Reason(code="no_ticker", where="/ticker", message=message)])
    ticker = asked.ticker or tickers[0]
    if ticker not in loaded.panels:
        message = f"{loaded.served.ensemble} does not cover {ticker}; it covers {known}"
        raise NotPredicted([Reason(code="unknown_ticker", where="/ticker", message=message)])
    return ticker


def _prediction(answer: BatchAnswer, ticker: str, timeframe: str) -> Prediction:
    score = float(answer.score[0])
    abstains = not np.isfinite(score)
    held = position(score, 0, threshold=answer.threshold, exit_threshold=answer.exit_threshold)
    votes = () if abstains else _votes(answer, ticker)
    return Prediction.model_validate(
        {
            "signal": _SIDES[held],
            "confidence": _known(answer.confidence[0]) or 0.0,
            "num_models": len(votes),
            "voting_method": answer.voting,
            "ensemble": answer.served.ensemble,
            "version": answer.served.version,
            "ticker": ticker,
            "timeframe": timeframe,
            "target_position": None if abstains else held,
            "score": _known(score),
            "p_correct": _known(answer.p_correct[0]),
            "edge_bps": _known(answer.edge_bps[0]),
            "votes": votes,
            "mode": answer.served.mode,
            "gate": answer.served.gate,
            "trained_through": answer.trained_through,
            "reasons": answer.reasons[0],
            "experiment": answer.experiment,
            "calibration_id": answer.calibration_ids.get(ticker),
        }
    )


def _votes(answer: BatchAnswer, ticker: str) -> tuple[Vote, ...]:
    return tuple(
        Vote.model_validate(
            {
                "member": member,
                "vote": _SIDES[int(answer.votes[0, column])],
                "strength": float(answer.strengths[0, column]),
                "confidence": float(answer.confidences[0, column]),
                "predicted_return": float(answer.predictions[0, column]),
            }
        )
        for column, member in enumerate(answer.members[ticker])
    )


def _known(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _refused(refused: NotPredicted) -> Response:
    problem = Problem(
        title=refused.status.phrase, status=refused.status.value, detail=str(refused), reasons=refused.reasons
    )
    response = _written(problem, refused.status)
    if refused.status is HTTPStatus.UNAUTHORIZED:
        response.headers["WWW-Authenticate"] = CHALLENGE
    return response


def _written(message: Message, status: HTTPStatus) -> Response:
    kind = "application/json" if status is HTTPStatus.OK else "application/problem+json"
    return Response(message.model_dump_json(), status.value, media_type=kind)
