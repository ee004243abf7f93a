"""Load generators of our own, each run in a process of its own.

The same ones load every server that is compared, no tool has to be installed, and a call costs them 10 µs or less: a
client of grpcio would cost 80 to 100 µs, more than the servers that are measured with it.
"""
