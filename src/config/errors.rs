//! What is wrong with a file: everything at once, each with its place.

use std::fmt;

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Line and column, from 1; `None` when the place is not in the file.
    pub at: Option<(u64, u64)>,
    /// The key path, such as `apps.shop.image`; empty for the file as a whole.
    pub path: String,
    /// What is wrong and what would be right; never a secret's value.
    pub message: String,
}

/// A configuration that can't be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Errors {
    /// The file's name.
    pub origin: String,
    /// What is wrong with it, in the order of lines.
    pub problems: Vec<Problem>,
}

impl fmt::Display for Errors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            f.write_str(&problem.told(&self.origin))?;
        }
        Ok(())
    }
}

impl Problem {
    /// In one line: `tagboat.yaml:3:5: apps.shop.image: …`.
    pub fn told(&self, origin: &str) -> String {
        let place = self.at.map(|(line, column)| format!(":{line}:{column}")).unwrap_or_default();
        let path = if self.path.is_empty() { String::new() } else { format!(": {}", self.path) };
        format!("{origin}{place}{path}: {}", self.message)
    }
}

/// Collects problems and knows where each path is.
#[derive(Debug, Default)]
pub(super) struct Report {
    pub(super) places: std::collections::BTreeMap<String, (u64, u64)>,
    pub(super) problems: Vec<Problem>,
    warnings: Vec<Problem>,
}

impl Report {
    /// Notes a problem at a path; a path that is not in the file has the place of the nearest one above it.
    pub(super) fn add(&mut self, path: &str, message: impl Into<String>) {
        let problem = self.problem(path, message.into());
        self.problems.push(problem);
    }

    /// Notes what is allowed and yet risky.
    pub(super) fn warn(&mut self, path: &str, message: impl Into<String>) {
        let problem = self.problem(path, message.into());
        self.warnings.push(problem);
    }

    /// The warnings, in the order of lines.
    pub(super) fn take_warnings(&mut self) -> Vec<Problem> {
        self.warnings.sort_by_key(|problem| problem.at);
        std::mem::take(&mut self.warnings)
    }

    fn problem(&self, path: &str, message: String) -> Problem {
        let mut at = path;
        let place = loop {
            match self.places.get(at) {
                Some(place) => break Some(*place),
                None => match at.rfind(['.', '[']) {
                    Some(end) => at = at.get(..end).unwrap_or_default(),
                    None => break None,
                },
            }
        };
        Problem { at: place, path: path.to_owned(), message }
    }

    /// The value, if it is one; else the error is noted.
    pub(super) fn take<T, E: fmt::Display>(&mut self, path: &str, result: Result<T, E>) -> Option<T> {
        result.map_err(|error| self.add(path, error.to_string())).ok()
    }

    pub(super) fn into_errors(mut self, origin: &str) -> Errors {
        self.problems.sort_by_key(|problem| problem.at);
        Errors { origin: origin.to_owned(), problems: self.problems }
    }
}
