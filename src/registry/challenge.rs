//! `WWW-Authenticate` (RFC 9110 11.6.1): one or several challenges, in one or several headers.

use std::collections::HashMap;

/// A challenge: a scheme and its parameters, names in lower case.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Challenge {
    pub(super) scheme: String,
    pub(super) parameters: HashMap<String, String>,
}

/// Reads all challenges of a header's value. What can't be read ends the reading; what was read before stays.
pub(super) fn parse(value: &str) -> Vec<Challenge> {
    let mut challenges: Vec<Challenge> = Vec::new();
    let mut rest = value;
    loop {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        let Some((token, after)) = token(rest) else { return challenges };
        let after_space = after.trim_start();
        if let (Some(value), Some(current)) = (after_space.strip_prefix('='), challenges.last_mut()) {
            let Some((value, after)) = parameter(value.trim_start()) else { return challenges };
            current.parameters.insert(token.to_ascii_lowercase(), value);
            rest = after;
        } else {
            challenges.push(Challenge { scheme: token.to_ascii_lowercase(), parameters: HashMap::new() });
            rest = after;
        }
    }
}

fn token(text: &str) -> Option<(&str, &str)> {
    let end = text.find(|c: char| !(c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c))).unwrap_or(text.len());
    (end > 0).then(|| text.split_at(end))
}

/// A token or a quoted string, in which a comma is only a comma.
fn parameter(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([',', ' ', '\t']).unwrap_or(text.len());
        let (value, rest) = text.split_at(end);
        return Some((value.to_owned(), rest));
    };
    let mut value = String::new();
    let mut chars = quoted.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((value, quoted.get(at + 1..)?)),
            '\\' => value.push(chars.next()?.1),
            c => value.push(c),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn challenges_are_told_apart() {
        for (value, schemes, scope) in [
            (
                r#"Bearer realm="https://a/t",service="s",scope="repository:x:pull,push""#,
                vec!["bearer"],
                Some("repository:x:pull,push"),
            ),
            (r#"Bearer realm="https://a/t",service="s",scope="*",Basic realm="r""#, vec!["bearer", "basic"], Some("*")),
            (r#"Basic realm="a \"quoted\" one""#, vec!["basic"], None),
            ("Negotiate, Basic realm=x", vec!["negotiate", "basic"], None),
            ("", vec![], None),
        ] {
            let parsed = parse(value);
            assert_eq!(parsed.iter().map(|c| c.scheme.as_str()).collect::<Vec<_>>(), schemes, "{value}");
            assert_eq!(parsed.first().and_then(|c| c.parameters.get("scope")).map(String::as_str), scope, "{value}");
        }
    }

    proptest! {
        #[test]
        fn rubbish_is_read_to_an_end(value in "[ -~]{0,80}") {
            let _ = parse(&value);
        }
    }
}
