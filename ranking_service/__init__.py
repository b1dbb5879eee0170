"""From request to ranking: contract, training, bundle, the online pipeline, the server and its log."""
