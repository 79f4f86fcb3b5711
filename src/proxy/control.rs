//! The control socket's language: one JSON document a line, one request a connection.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::model::{
    AppHold, AppName, AppSwitch, ContainerId, InFlight, Probe, ProbeOutcome, RouteSet, SwitchAck, Table, TrafficStats,
};

/// A line longer than this is nobody's request: a table of a thousand apps has a tenth of it.
pub(super) const LINE: usize = 4 << 20;

/// A request with the version of its language.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Envelope {
    pub(super) version: u32,
    /// A newer proxy has made this change: do it too, without asking whether it can be made, and without keeping it.
    #[serde(default)]
    pub(super) followed: bool,
    pub(super) request: Request,
}

/// What the agent can ask.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "op")]
pub(super) enum Request {
    Table,
    SetRoutes { apps: Vec<RouteSet> },
    Switch { changes: Vec<AppSwitch> },
    Hold { hold: AppHold },
    Release { app: AppName, expect: u64 },
    Readdress { app: AppName, container: ContainerId, addr: SocketAddr },
    Probe { addr: SocketAddr, probe: Probe, timeout_ms: u64 },
    InFlight { container: ContainerId },
    Cut { container: ContainerId, over_ms: u64 },
    Stats,
}

/// What the proxy answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "answer")]
pub(super) enum Response {
    Done,
    Table { table: Table },
    Switched { ack: SwitchAck },
    Probed { outcome: ProbeOutcome },
    InFlight { count: InFlight },
    Stats { stats: Box<TrafficStats> },
    Conflict { app: AppName, expected: u64, found: u64 },
    Refused { message: String },
    Malformed { message: String },
}

/// Reads a request. The error is what the other end is told.
pub(super) fn parse(line: &[u8]) -> Result<Envelope, Response> {
    let version = crate::model::CONTROL_VERSION;
    let malformed = |message: String| Response::Malformed { message };
    let envelope: Envelope = serde_json::from_slice(line).map_err(|error| malformed(error.to_string()))?;
    if envelope.version != version {
        let message = format!("this proxy speaks version {version} of the control protocol, not {}", envelope.version);
        return Err(malformed(message));
    }
    Ok(envelope)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn rubbish_is_answered_and_not_believed(line in prop::collection::vec(any::<u8>(), 0..200)) {
            let refused = matches!(parse(&line), Err(Response::Malformed { .. }));
            prop_assert!(refused);
        }

        #[test]
        fn a_mutated_request_is_read_or_refused(position in any::<prop::sample::Index>(), byte in any::<u8>()) {
            let request = Request::Switch { changes: vec![AppSwitch { app: "shop".parse().unwrap(), expect: 1, to: vec![] }] };
            let mut line = serde_json::to_vec(&Envelope { version: 1, followed: false, request }).unwrap();
            let at = position.index(line.len());
            line[at] = byte;
            let _ = parse(&line);
        }
    }

    #[test]
    fn another_version_is_refused_by_name() {
        let line = br#"{"version":99,"request":{"op":"table"}}"#;
        let Err(Response::Malformed { message }) = parse(line) else { panic!() };
        assert!(message.contains("99") && message.contains("version 1"), "{message}");
    }
}
