"""Generated from protos/clerksync/v1 by `make proto`; never edited by hand."""
