//! A scanner's answer, read with care.

use serde::Deserialize;

use crate::model::ScanVerdict;

/// Characters of a reason that are shown.
const REASON: usize = 500;

/// The answer as JSON.
#[derive(Deserialize)]
pub(super) struct Said {
    decision: Decision,
    #[serde(default)]
    reason: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Decision {
    Allow,
    Deny,
    Later,
}

impl Said {
    /// A JSON object with a `decision` and nothing around it.
    pub(super) fn read(text: &[u8]) -> Option<Self> {
        serde_json::from_slice(text).ok()
    }

    pub(super) fn verdict(self) -> ScanVerdict {
        let reason = self.reason.as_deref().map(|reason| shown(reason.as_bytes())).filter(|reason| !reason.is_empty());
        let reason = reason.unwrap_or_else(|| "without a reason".to_owned());
        match self.decision {
            Decision::Allow => ScanVerdict::Allowed,
            Decision::Deny => ScanVerdict::Denied { reason },
            Decision::Later => ScanVerdict::Later { reason },
        }
    }
}

/// The end of a text, in one line, as it can be shown: scanners say last what matters.
pub(super) fn shown(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    let words: Vec<&str> =
        text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|w| !w.is_empty()).collect();
    let line = words.join(" ");
    let length = line.chars().count();
    match length.checked_sub(REASON) {
        None | Some(0) => line,
        Some(more) => format!("… {}", line.chars().skip(more).collect::<String>()),
    }
}
