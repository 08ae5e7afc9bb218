"""The program put together: wiring, lifetimes, signals, reload, the order of a shutdown."""
