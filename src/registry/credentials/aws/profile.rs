//! The profiles that AWS's tools keep in `~/.aws`.

use std::collections::BTreeMap;

use secrecy::{ExposeSecret, SecretString};

/// What stands under one heading.
pub(super) type Section = BTreeMap<String, SecretString>;

/// The section of a profile in the text of `credentials` (`[name]`) or `config` (`[profile name]`, `[default]`).
pub(super) fn section(text: &str, profile: &str) -> Option<Section> {
    let mut found: Option<Section> = None;
    let mut inside = false;
    for line in text.lines() {
        let bare = line.trim();
        if bare.is_empty() || bare.starts_with(['#', ';']) {
            continue;
        }
        if let Some(name) = bare.strip_prefix('[').and_then(|rest| rest.split(']').next()) {
            let name = name.trim();
            let name = name.strip_prefix("profile ").map_or(name, str::trim);
            inside = name == profile;
            if inside {
                found.get_or_insert_default();
            }
        // What is indented belongs to the setting above it (`s3 =`), and to nothing of ours.
        } else if inside
            && !line.starts_with([' ', '\t'])
            && let (Some(section), Some((key, value))) = (found.as_mut(), bare.split_once('='))
        {
            // A comment after a value has a space before it; keys may hold `#`.
            let value = value.split(" #").next().unwrap_or_default();
            let value = value.split(" ;").next().unwrap_or_default().trim();
            section.insert(key.trim().to_ascii_lowercase(), SecretString::from(value.to_owned()));
        }
    }
    found
}

/// A setting that is there and not empty.
pub(super) fn setting<'a>(section: &'a Section, key: &str) -> Option<&'a SecretString> {
    section.get(key).filter(|value| !value.expose_secret().is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_profile_is_found_in_either_file() {
        let text = "# comment\n[default]\naws_access_key_id = A\naws_secret_access_key=B/+=#x # note\n\n[profile ci]\n\
             region = eu-west-1\ns3 =\n  region = nested\nREGION2=x\n[ other ]\nregion=o\n[default]\nregion = us-east-2";
        for (profile, key, value) in [
            ("default", "aws_access_key_id", Some("A")),
            ("default", "aws_secret_access_key", Some("B/+=#x")),
            ("default", "region", Some("us-east-2")),
            ("ci", "region", Some("eu-west-1")),
            ("ci", "region2", Some("x")),
            ("ci", "s3", None),
            ("other", "region", Some("o")),
            ("nobody", "region", None),
        ] {
            let section = section(text, profile);
            let found = section.as_ref().and_then(|section| setting(section, key));
            assert_eq!(found.map(|value| value.expose_secret()), value, "{profile} {key}");
        }
    }

    proptest! {
        #[test]
        fn rubbish_is_read_to_an_end(text in "[ -~\n\\[\\]=]{0,200}") {
            let _ = section(&text, "default");
        }
    }
}
