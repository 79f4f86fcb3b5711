//! Asks a scanner, which is a program or a service, whether a version may be deployed.
//!
//! What the scanner is told are the names that tagboat itself works with: reference, digest, platform, app. No credential
//! goes along. What it answers is capped, cleaned of control characters and shown; nothing but "allow" lets a version
//! pass: a scanner that crashes, hangs or babbles is looked at again.

mod exec;
mod http;
#[cfg(test)]
mod tests;
mod verdict;

use tokio::time::timeout;

use crate::model::{ImageRef, ScanRule, ScanSubject, ScanVerdict, Scanner};

/// What is read of an answer; the rest is thrown away.
const OUTPUT: usize = 64 << 10;

/// Asks, and waits for the answer at most as long as the rule says.
pub(super) async fn ask(subject: &ScanSubject, rule: &ScanRule) -> ScanVerdict {
    let asked = async {
        match &rule.by {
            Scanner::Exec { command, env, deny } => exec::ask(subject, command, env, deny).await,
            Scanner::Http { url, token } => http::ask(subject, url, token.as_ref()).await,
        }
    };
    let limit = humantime::format_duration(rule.timeout);
    let late = |_| ScanVerdict::Failed { message: format!("it gave no answer within {limit}") };
    timeout(rule.timeout, asked).await.unwrap_or_else(late)
}

/// What is deployed, and nothing else, is what is to be scanned.
fn reference(subject: &ScanSubject) -> String {
    ImageRef::by_digest(&subject.repository, &subject.digest).to_string()
}
