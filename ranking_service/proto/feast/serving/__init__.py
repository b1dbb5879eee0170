"""Generated from Feast; see `ranking_service.proto.generate`."""
