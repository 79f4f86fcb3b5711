//! A configuration.

use serde_json::Value;

/// How the old container is when it is recreated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Old {
    Created,
    Running,
    Paused,
    Exited,
}

/// One row of the table.
#[derive(Debug, Clone)]
pub(super) struct Case {
    pub(super) group: &'static str,
    pub(super) label: &'static str,
    /// The image's family: `{family}:v1` is the old one, `{family}:v2` the new one.
    pub(super) family: &'static str,
    /// Arguments of `docker create` before the image, as a shell reads them.
    pub(super) args: String,
    /// The command after the image.
    pub(super) command: &'static str,
    /// A body for the API instead of arguments; `Image` is filled in.
    pub(super) raw: Option<Value>,
    /// Arguments of `docker network connect`, the network last.
    pub(super) connects: Vec<String>,
    pub(super) old: Old,
    /// The label `tagboat.keep_config`.
    pub(super) keep: &'static str,
    /// The oldest API version that has it, and the newest.
    pub(super) api: ((u32, u32), (u32, u32)),
    /// Start the candidate after the old one is gone, to see that it can.
    pub(super) starts: bool,
}

/// A container by the arguments of `docker create`, from the image with every default.
pub(super) fn case(label: &'static str, args: &str) -> Case {
    Case {
        group: "",
        label,
        family: "full",
        args: args.to_owned(),
        command: "",
        raw: None,
        connects: Vec::new(),
        old: Old::Created,
        keep: "",
        api: ((1, 41), (1, 99)),
        starts: false,
    }
}

/// A container by a body that the client can't express.
pub(super) fn raw(label: &'static str, body: Value) -> Case {
    Case { raw: Some(body), ..case(label, "") }
}

impl Case {
    pub(super) fn of(self, family: &'static str) -> Self {
        Self { family, ..self }
    }

    pub(super) fn command(self, command: &'static str) -> Self {
        Self { command, ..self }
    }

    pub(super) fn connect(mut self, args: &str) -> Self {
        self.connects.push(args.to_owned());
        self
    }

    pub(super) fn old(self, old: Old) -> Self {
        Self { old, ..self }
    }

    pub(super) fn keep(self, keep: &'static str) -> Self {
        Self { keep, ..self }
    }

    pub(super) fn since(self, api: (u32, u32)) -> Self {
        Self { api: (api, self.api.1), ..self }
    }

    pub(super) fn until(self, api: (u32, u32)) -> Self {
        Self { api: (self.api.0, api), ..self }
    }

    pub(super) fn starts(self) -> Self {
        Self { starts: true, ..self }
    }
}
