"""How a request-time transform becomes one of Feast's on-demand feature views."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import dill
import pandas as pd
from feast import FeatureView, Field, OnDemandFeatureView, RequestSource
from feast.errors import SpecifiedFeaturesNotPresentError

from feature_repo.errors import FeatureError

FrameFunction = Callable[[pd.DataFrame], pd.DataFrame]


class RequestTimeView(OnDemandFeatureView):  # type: ignore[misc]
    """An on-demand view whose fields keep description and tags.

    Feast's own inference compares whole fields with bare inferred ones, and so refuses described fields.
    """

    def infer_features(self) -> None:
        """Run the function on Feast's sample row; its outputs must be the declared names and types.

        Raises SpecifiedFeaturesNotPresentError otherwise.
        """
        if self.feature_transformation is None:
            raise FeatureError(
                f"on-demand view {self.name} has no function; decorate one with @at_request_time"
            )
        inferred = self.feature_transformation.infer_features(random_input=self._construct_random_input())
        computed = {(field.name, field.dtype) for field in inferred}
        absent = [field for field in self.features if (field.name, field.dtype) not in computed]
        if absent:
            raise SpecifiedFeaturesNotPresentError(absent, inferred, self.name)


def at_request_time(
    *, sources: Sequence[FeatureView | RequestSource], description: str, schema: Sequence[Field]
) -> Callable[[FrameFunction], RequestTimeView]:
    """Declare the decorated function as an on-demand view of the same name.

    Feast stores the function's source and runs it without its module, so its imports stand in its body.
    """

    def declare(function: FrameFunction) -> RequestTimeView:
        source = dill.source.getsource(function)
        function.__module__ = "__main__"
        view = RequestTimeView(
            name=function.__name__,
            sources=list(sources),
            schema=list(schema),
            description=description,
            mode="pandas",
            udf=function,
            udf_string=source,
        )
        # Feast reads an on-demand view back with bare fields, and refuses a service whose fields are others.
        view.projection.features = [Field(name=field.name, dtype=field.dtype) for field in schema]
        return view

    return declare
