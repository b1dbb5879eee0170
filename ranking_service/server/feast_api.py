"""Feast's serving API (`feast.serving.ServingService`) on the ranking server's port, answered from packed rows."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any

import grpc

from feature_repo.errors import MarqueeError, OnlineStoreError, RequestError, TooLateError
from ranking_service.feast_api.answer import Asked
from ranking_service.feast_api.query import Catalogue, Query, UnknownFeatureError, check_names
from ranking_service.online.packed_reader import PackedReader
from ranking_service.online.ranker import Ranker
from ranking_service.proto.feast.serving import ServingService_pb2 as serving
from ranking_service.server.servicer import Servicer
from ranking_service.server.status import pushback, said, status_of

FEAST_SERVICE = serving.DESCRIPTOR.services_by_name["ServingService"].full_name


def add_feast_api(server: Any, servicer: Servicer) -> tuple[str, ...]:
    """Serve Feast's API too, where the settings say so and the rows are packed; the names of the services added."""
    settings = servicer.settings
    if not settings.feast_api.enabled or settings.redis.rows != "packed":
        return ()
    api = FeastApi(servicer)
    methods = {
        "GetOnlineFeatures": _handler(api.get_online_features, serving.GetOnlineFeaturesRequest),
        "GetFeastServingInfo": _handler(api.get_info, serving.GetFeastServingInfoRequest),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(FEAST_SERVICE, methods),))
    return (FEAST_SERVICE,)


@dataclass
class FeastApi:
    """Belongs to one event loop; shares the models, the turns and the connections of the ranking."""

    servicer: Servicer
    catalogue: Catalogue = field(default_factory=lambda: Catalogue(()))

    async def get_online_features(self, message: Any, context: grpc.aio.ServicerContext) -> bytes:
        """The serialized GetOnlineFeaturesResponse."""
        left = context.time_remaining()
        seconds = self.servicer.settings.feast_api.request_seconds if left is None else left
        self.servicer.underway.until_sent(context)
        began, watch = time.monotonic(), self.servicer.watch
        call, limiter = watch.call(context), self.servicer.limiter
        try:
            if limiter is not None:
                limiter.check(call.caller)
            answer = await self.answer(message, deadline=began + float(seconds))
        except MarqueeError as error:
            unknown = isinstance(error, UnknownFeatureError)
            status = grpc.StatusCode.NOT_FOUND if unknown else status_of(error)
            watch.features_read(status.name, said(error), call, seconds=time.monotonic() - began)
            await context.abort(status, said(error), trailing_metadata=pushback(error))
            raise
        watch.features_read("OK", "", call, seconds=time.monotonic() - began)
        return answer

    async def get_info(self, message: Any, context: grpc.aio.ServicerContext) -> bytes:  # noqa: ARG002
        """The version of Feast whose API this is."""
        return bytes(serving.GetFeastServingInfoResponse(version=version("feast")).SerializeToString())

    async def answer(self, message: Any, *, deadline: float) -> bytes:
        """`deadline` in `time.monotonic` seconds. Raises MarqueeError."""
        async with self.servicer.admission.turn(is_prefetch=False, deadline=deadline):
            with self.servicer.models.leased() as ranker:
                query = self._query(message)
                most = self.servicer.settings.feast_api.entities
                asked = Asked.of(message, query, most=most)
                reader = _packed(ranker)
                reader.breaker.check()
                seconds = deadline - time.monotonic()
                if seconds <= 0:
                    raise TooLateError("no time is left to read features; allow more")
                return await asked.answer(reader.link, at=self.servicer.clock(), seconds=seconds)

    def _query(self, message: Any) -> Query:
        kind = message.WhichOneof("kind")
        if kind == "feature_service":
            query = self._current().service(message.feature_service)
        elif message.features.val:
            query = self._current().features(message.features.val)
        else:
            raise RequestError("features", 'is empty; name a feature_service, or features as "view:feature"')
        check_names(query, full=message.full_feature_names)
        return query

    def _current(self) -> Catalogue:
        """Of the models as they are now, the default one first."""
        models = self.servicer.models
        contracts = tuple(models.ranker(name).bundle.contract for name in models.names)
        known = self.catalogue.contracts
        if len(known) != len(contracts) or any(
            one is not other for one, other in zip(known, contracts, strict=True)
        ):
            self.catalogue = Catalogue(contracts)
        return self.catalogue


def _packed(ranker: Ranker) -> PackedReader:
    if not isinstance(ranker.reader, PackedReader):
        raise OnlineStoreError("the rows are not packed; Feast's API reads packed rows only")
    return ranker.reader


def _handler(method: Callable[[Any, Any], Awaitable[bytes]], request: Any) -> Any:
    """Answers come serialized."""
    return grpc.unary_unary_rpc_method_handler(method, request_deserializer=request.FromString)
