"""Made from `proto/` by `tools/protos.py`. Not edited by hand."""
