//! Does an image run on a host?

use crate::model::{Digest, Platform};

/// True when a host runs an image of that platform: same system and architecture, and a variant that the host's
/// includes (a v7 host runs v6 and v5; the default variant of arm64 is v8).
pub fn runs_on(image: &Platform, host: &Platform) -> bool {
    if image.os != host.os || canonical(&image.architecture) != canonical(&host.architecture) {
        return false;
    }
    match (level(image), level(host)) {
        (Some(needs), Some(has)) => needs <= has,
        _ => true,
    }
}

/// The manifest that a host takes of an image: of several that it can run, the one that asks the most of it, as Docker
/// does. A manifest that does not say what it runs on is taken when it is the only one.
pub fn pick<'a>(manifests: &'a [(Option<Platform>, Digest)], host: &Platform) -> Option<&'a Digest> {
    if let [(None, only)] = manifests {
        return Some(only);
    }
    let fits = |(platform, digest): &'a (Option<Platform>, Digest)| {
        let platform = platform.as_ref().filter(|platform| runs_on(platform, host))?;
        Some((level(platform).unwrap_or_default(), digest))
    };
    // The first of equals, as Docker takes it.
    let best = manifests.iter().filter_map(fits).reduce(|best, next| if next.0 > best.0 { next } else { best });
    best.map(|(_, digest)| digest)
}

/// `docker info` speaks the kernel's words, images speak Go's.
fn canonical(architecture: &str) -> &str {
    match architecture {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "armv7l" | "armv6l" | "armhf" => "arm",
        "i386" | "i686" => "386",
        other => other,
    }
}

fn level(platform: &Platform) -> Option<u32> {
    platform.variant.as_ref()?.strip_prefix('v')?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn platform(text: &str) -> Platform {
        let mut parts = text.split('/').map(str::to_owned);
        Platform { os: parts.next().unwrap(), architecture: parts.next().unwrap(), variant: parts.next() }
    }

    #[test]
    fn an_image_runs_where_its_architecture_and_variant_are_understood() {
        for (image, host, runs) in [
            ("linux/amd64", "linux/x86_64", true),
            ("linux/arm64/v8", "linux/aarch64", true),
            ("linux/arm/v6", "linux/arm/v7", true),
            ("linux/arm/v7", "linux/arm/v6", false),
            ("linux/arm64", "linux/amd64", false),
            ("windows/amd64", "linux/amd64", false),
        ] {
            assert_eq!(runs_on(&platform(image), &platform(host)), runs, "{image} on {host}");
        }
    }

    #[test]
    fn of_several_that_run_the_most_demanding_is_taken() {
        let manifests = |texts: &[&str]| -> Vec<(Option<Platform>, Digest)> {
            let one = |text: &&str| ((*text != "?").then(|| platform(text)), Digest::of(text.as_bytes()));
            texts.iter().map(one).collect()
        };
        for (texts, host, picked) in [
            (vec!["linux/arm/v5", "linux/arm/v7", "linux/arm/v6"], "linux/arm/v7", Some("linux/arm/v7")),
            (vec!["linux/arm/v5", "linux/arm/v7", "linux/arm/v6"], "linux/arm/v6", Some("linux/arm/v6")),
            (vec!["linux/arm64", "linux/amd64"], "linux/x86_64", Some("linux/amd64")),
            (vec!["linux/arm64"], "linux/amd64", None),
            (vec!["?"], "linux/amd64", Some("?")),
            (vec!["?", "linux/arm64"], "linux/amd64", None),
            (vec![], "linux/amd64", None),
        ] {
            let found = manifests(&texts);
            let wanted = picked.map(|text| Digest::of(text.as_bytes()));
            assert_eq!(pick(&found, &platform(host)), wanted.as_ref(), "{texts:?} on {host}");
        }
    }
}
