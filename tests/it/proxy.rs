//! The proxy by itself, against a control socket.
