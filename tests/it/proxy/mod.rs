//! The proxy by itself: real clients and real apps on the loopback, and its control socket.

mod carrying;
mod control;
mod draining;
mod parking;
mod stage;
mod switching;
mod wire;
