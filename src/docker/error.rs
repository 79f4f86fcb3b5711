//! What the daemon says → kinds of errors.

use crate::ports::{EngineError, EngineErrorKind, Source};

/// The words with which a daemon says that it could not run the image's command. It has no code for that.
const COMMAND: [&str; 8] = [
    "executable file not found",
    "no such file or directory",
    "permission denied",
    "exec format error",
    "oci runtime create failed",
    "failed to create task",
    "failed to create shim",
    "no command specified",
];

/// Makes an error of an HTTP answer.
pub(super) fn of_answer(what: &str, status: u16, words: &str) -> EngineError {
    let words = words.trim();
    let lower = words.to_lowercase();
    let kind = match status {
        404 if COMMAND.iter().any(|w| lower.contains(w)) => EngineErrorKind::Refused,
        404 => EngineErrorKind::NotFound,
        409 => EngineErrorKind::Conflict,
        400..=499 => EngineErrorKind::Refused,
        _ if COMMAND.iter().any(|w| lower.contains(w)) => EngineErrorKind::Refused,
        _ => EngineErrorKind::Server,
    };
    EngineError { kind, message: format!("failed to {what}: the engine says: {words}"), source: None }
}

/// Makes an error of a request that got no answer.
pub(super) fn unreachable(what: &str, host: &str, source: Source) -> EngineError {
    EngineError {
        kind: EngineErrorKind::Unreachable,
        message: format!("failed to {what}: the container engine at {host} does not answer"),
        source: Some(source),
    }
}

/// Makes an error of bollard's.
pub(super) fn of_stream(what: &str, host: &str, error: bollard::errors::Error) -> EngineError {
    use bollard::errors::Error as E;
    match error {
        E::DockerResponseServerError { status_code, message } => of_answer(what, status_code, &message),
        E::DockerStreamError { error } => {
            let message = format!("failed to {what}: the engine says: {}", error.trim());
            EngineError { kind: EngineErrorKind::Pull, message, source: None }
        }
        other => unreachable(what, host, Box::new(other)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_that_can_t_be_run_is_told_from_a_container_that_is_not_there() {
        for (status, words, kind) in [
            (404, "No such container: x", EngineErrorKind::NotFound),
            (
                400,
                "failed to create shim: OCI runtime create failed: exec: \"/nope\": stat /nope: no such file or directory",
                EngineErrorKind::Refused,
            ),
            (404, "executable file not found in $PATH", EngineErrorKind::Refused),
            (500, "driver failed", EngineErrorKind::Server),
            (409, "name in use", EngineErrorKind::Conflict),
        ] {
            assert_eq!(of_answer("start shop.1", status, words).kind, kind, "{words}");
        }
    }
}
