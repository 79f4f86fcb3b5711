//! Every case that people ran into with the tools before this one.

use super::*;

struct Case {
    label: &'static str,
    follow: &'static str,
    current: Option<&'static str>,
    tags: &'static str,
    winner: Option<&'static str>,
    /// `tag=verdict`, of some of the others.
    lost: &'static str,
}

const fn case(label: &'static str, follow: &'static str, tags: &'static str, winner: &'static str) -> Case {
    Case { label, follow, current: None, tags, winner: Some(winner), lost: "" }
}

const fn nothing(label: &'static str, follow: &'static str, tags: &'static str) -> Case {
    Case { label, follow, current: None, tags, winner: None, lost: "" }
}

impl Case {
    const fn after(self, current: &'static str) -> Self {
        Self { current: Some(current), ..self }
    }

    const fn lost(self, lost: &'static str) -> Self {
        Self { lost, ..self }
    }
}

#[test]
fn every_case_that_people_ran_into() {
    let version = r"numeric: version-(?P<a>\d+)\.(?P<b>\d+)\.(?P<c>\d+)\.(?P<d>\d+)";
    let plex = r"numeric: (?P<a>\d+)\.(?P<b>\d+)\.(?P<c>\d+)\.(?P<build>\d+)-[0-9a-f]+";
    for case in [
        // Ranges and the order of a list.
        case(
            "the highest of the range, whatever lies above it (keel#490)",
            "semver: ^1",
            "2.0.0 1.1.0 1.2.0 0.9.0",
            "1.2.0",
        )
        .lost("2.0.0=out_of_range 1.1.0=older 0.9.0=out_of_range"),
        case("lists that come oldest first (keel#823, keel PR901)", "semver: *", "1.0.0 1.1.0 1.2.0", "1.2.0"),
        case("lists in no order (quay, ghcr)", "semver: *", "1.10.0 1.9.0 1.2.0", "1.10.0").lost("1.9.0=older"),
        nothing("nothing of the range", "semver: ^3", "1.0.0 2.0.0").lost("2.0.0=out_of_range"),
        nothing("no tags", "semver: *", ""),
        // Pre-releases.
        case(
            "a count of commits behind a tag is a pre-release (flux2#1298)",
            "semver: *",
            "2.0.329 2.0.330-63-gc1cfb6864",
            "2.0.329",
        )
        .lost("2.0.330-63-gc1cfb6864=prerelease"),
        case(
            "which a range with -0 admits (flux2#1298)",
            "semver: >=2.0.0-0",
            "2.0.329 2.0.330-63-gc1cfb6864 2.0.330-100-gdeadbee",
            "2.0.330-100-gdeadbee",
        ),
        case("rc10 is above rc9 (flux2#4599)", "semver: ^1.0.0-0", "1.0.0-rc9 1.0.0-rc10 1.0.0-rc2", "1.0.0-rc10")
            .lost("1.0.0-rc9=older"),
        case("and a release above both", "semver: ^1.0.0-0", "1.0.0-rc9 1.0.0-rc10 1.0.0", "1.0.0"),
        case("pre-releases are left out by default (keel#687)", "semver: ^1", "1.0.0 1.1.0-rc.1", "1.0.0")
            .lost("1.1.0-rc.1=prerelease"),
        case(
            "`same` follows rc by rc (keel#271)",
            "semver: ^1; image: 1.1.0-rc.1; prerelease: same",
            "1.1.0-rc.1 1.1.0-rc.2 1.2.0-beta.1",
            "1.1.0-rc.2",
        )
        .lost("1.2.0-beta.1=prerelease"),
        case(
            "and the release that comes of it (keel#187)",
            "semver: ^1; image: 1.1.0-rc.1; prerelease: same",
            "1.1.0-rc.1 1.1.0-rc.2 1.1.0",
            "1.1.0",
        ),
        case(
            "`any` follows all but variants",
            "semver: ^1; prerelease: any",
            "1.1.0-feature.3 1.2.0-alpine 1.2.0-bookworm",
            "1.1.0-feature.3",
        )
        .lost("1.2.0-alpine=suffix"),
        case(
            "the next major's candidates are not below it",
            "semver: <2; prerelease: any",
            "1.9.0 2.0.0-rc.1",
            "1.9.0",
        )
        .lost("2.0.0-rc.1=out_of_range"),
        case(
            "the newest build of a pull request is a matter of its number (image-reflector#296)",
            r"numeric: \d+\.\d+\.\d+-pr\.(?P<n>\d+)",
            "1.9.0-pr.7 1.2.0-pr.12 1.10.0-pr.3",
            "1.2.0-pr.12",
        ),
        case(
            "Python's betas are below the release (renovate#4827)",
            "semver: *; prerelease: any",
            "3.8.0b1 3.8.0rc1 3.8.0",
            "3.8.0",
        )
        .lost("3.8.0b1=older"),
        case("and no release (renovate#4827)", "semver: *", "3.7.0 3.8.0b1", "3.7.0").lost("3.8.0b1=prerelease"),
        // The letter v.
        case("v1.0.1 and 1.0.1: the longer one (fluxcd/website#1864)", "semver: ^1", "1.0.1 v1.0.1", "v1.0.1")
            .lost("1.0.1=tie"),
        case("or the one that is spelt as in `image`", "semver: ^1; image: 1.0.0", "1.0.1 v1.0.1", "1.0.1")
            .lost("v1.0.1=tie"),
        case("or the one that is followed already", "semver: ^1", "1.0.1 v1.0.1", "1.0.1").after("1.0.1"),
        case(
            "a v that is dropped on the way (renovate#4339)",
            "semver: ^1; image: v1.0.0",
            "v1.0.0 v1.1.0 1.2.0",
            "1.2.0",
        ),
        // Suffixes and prefixes.
        case(
            "a suffix stays as it is (renovate#2968)",
            "semver: *; image: 1.12-alpine",
            "1.12-alpine 1.15-alpine 1.15-alpine-perl 1.16-perl 1.17",
            "1.15-alpine",
        )
        .lost("1.15-alpine-perl=suffix 1.16-perl=suffix 1.17=suffix"),
        case(
            "and does not become another one (wud#514)",
            "semver: *; image: 17-alpine",
            "17-alpine 17.2-bookworm 17.2-alpine 18-alpine",
            "18-alpine",
        )
        .lost("17.2-bookworm=suffix 17.2-alpine=precision"),
        case("no suffix is one as well", "semver: ^1", "1.4.2 1.4.3-alpine 1.4.4-slim", "1.4.2")
            .lost("1.4.3-alpine=suffix"),
        case(
            "a suffix behind a pre-release",
            "semver: ^1; suffix: -alpine; prerelease: any",
            "1.4.2-alpine 1.4.3-rc.1-alpine 1.4.4-rc.1",
            "1.4.3-rc.1-alpine",
        )
        .lost("1.4.4-rc.1=suffix"),
        case("a suffix of one's own", "semver: ^1; suffix: -acme", "1.4.2-acme 1.4.3", "1.4.2-acme")
            .lost("1.4.3=suffix"),
        case(
            "a prefix (deno_docker#172)",
            "semver: ^1; prefix: debian-",
            "debian-1.13.2 debian-1.9.0 1.14.0 alpine-1.15.0",
            "debian-1.13.2",
        )
        .lost("1.14.0=prefix alpine-1.15.0=prefix"),
        nothing(
            "digits in a prefix are no version (wud#970)",
            "semver: *; precision: any",
            "amd64-latest arm64-latest",
        )
        .lost("amd64-latest=no_version"),
        // Dates.
        case("a date is no version (wud#1177)", "semver: *", "1.4.0 2026-08-28", "1.4.0").lost("2026-08-28=precision"),
        case("not even of a full one (wud#1183)", "semver: *; precision: any", "1.4.0 2026.08.28", "1.4.0")
            .lost("2026.08.28=padded"),
        case("zeros in front are dates' (image-reflector#250)", "calver: YYYY.0M", "2022.04 2021.11 2022.4", "2022.04")
            .lost("2022.4=no_match"),
        case(
            "a date and a counter as numbers (image-reflector#340)",
            r"numeric: (?P<ts>\d{8})-(?P<inc>\d+)",
            "20190209-4 20190209-10 20190208-99",
            "20190209-10",
        ),
        case(
            "the same as a form",
            "calver: YYYY0M0D-MICRO",
            "20190209-4 20190209-10 20190208-99 20191399-1",
            "20190209-10",
        )
        .lost("20191399-1=no_match"),
        // Four numbers.
        case(
            "Plex has four numbers and a hash (image-reflector#809)",
            plex,
            "1.43.3.10896-cb3ebc72d 1.43.3.9999-aaaaaaaaa 1.42.9.20000-0123abc",
            "1.43.3.10896-cb3ebc72d",
        ),
        case("which is no semantic version (wud#1183)", "semver: *", "1.40.0 1.43.3.10896-cb3ebc72d", "1.40.0")
            .lost("1.43.3.10896-cb3ebc72d=too_many_numbers"),
        case(
            "linuxserver's have a word in front (wud#22)",
            version,
            "version-3.0.1.4259 version-3.0.1.900 nightly-9.0.0.0",
            "version-3.0.1.4259",
        )
        .lost("nightly-9.0.0.0=no_match"),
        // Numbers.
        case(
            "one that is no number spoils nothing",
            "numeric: build-(?P<n>.*)",
            "build-7 build-x build-12",
            "build-12",
        )
        .lost("build-x=no_number"),
        case("an empty group is no number (flux2#3962)", r"numeric: build-(?P<n>\d*)", "build- build-3", "build-3")
            .lost("build-=no_number"),
        case(
            "time stamps of 17 digits do not tie (a float's do)",
            r"numeric: (?P<n>\d+)",
            "20240131235959001 20240131235959000",
            "20240131235959001",
        )
        .lost("20240131235959000=older"),
        case(
            "numbers of any length",
            r"numeric: (?P<n>\d+)",
            "100000000000000000000000000000000000000000 99999999999999999999999999999999999999999",
            "100000000000000000000000000000000000000000",
        ),
        case(
            "an optional group counts below every number",
            r"numeric: (?P<a>\d+)\.(?P<b>\d+)(?:\.(?P<c>\d+))?",
            "1.43 1.43.1 1.42.9",
            "1.43.1",
        ),
        case(
            "two tags with the same number: always the same wins (flux filter.go)",
            r"numeric: [a-z]+-(?P<n>\d+)",
            "main-7 dev-7 main-6",
            "main-7",
        )
        .lost("dev-7=tie main-6=older"),
        // Partial and moving tags.
        case("moving tags are not taken for versions (wud#427)", "semver: ^7", "7 7.0 7.0.14", "7.0.14")
            .lost("7=precision 7.0=precision"),
        case("unless they are wanted (wud#1247)", "semver: *; image: v3", "v3 v4 v4.1.0", "v4")
            .lost("v4.1.0=precision"),
        case("two numbers stay two", "semver: ^1; image: 1.2", "1.2 1.3 1.4.7", "1.3").lost("1.4.7=precision"),
        case("any precision: the most exact of equals", "semver: ^1; precision: any", "1 1.2 1.2.0", "1.2.0")
            .lost("1.2=tie"),
        // What has no order.
        nothing(
            "hashes and branches are no versions (renovate#6913, keel#765, keel#432)",
            "semver: *; precision: any",
            "cb3ebc72d 7e3c1f0 main feature-x latest",
        )
        .lost("main=no_version 7e3c1f0=no_version"),
        case("a tag by its name (keel force)", "tag: latest", "1.0.0 latest", "latest").lost("1.0.0=other"),
        // Signatures.
        case(
            "signatures and the like are no images",
            "pattern: .*; order: alphabetical",
            "a sha256-0000000000000000000000000000000000000000000000000000000000000000.sig \
             sha256-0000000000000000000000000000000000000000000000000000000000000000.att \
             sha256-0000000000000000000000000000000000000000000000000000000000000000.sbom \
             sha256-0000000000000000000000000000000000000000000000000000000000000000 v9.sig",
            "a",
        ),
        // `+` can't be in a tag.
        case("_ stands for + and counts last", "semver: ^1", "1.2.3_9 1.2.3_10 1.2.3", "1.2.3_10"),
        // Down, never.
        nothing("what is older than what is followed is not", "semver: ^1", "1.0.0 1.0.5")
            .after("1.1.0")
            .lost("1.0.5=downgrade"),
        case("unless that is allowed", "semver: ^1; allow_downgrade: true", "1.0.0 1.0.5", "1.0.5").after("1.1.0"),
        case("a late fix of an older line is not newer", "semver: ^1", "1.0.0 1.1.0 1.0.5", "1.1.0").after("1.1.0"),
        nothing("nothing below the tag in `image`", "semver: ^1; image: 1.4.0", "1.0.0 1.3.9")
            .lost("1.3.9=below_floor"),
        // Other orders.
        case("alphabetical means so", "pattern: rel-.*; order: alphabetical", "rel-9 rel-10", "rel-9"),
        case("natural counts", "pattern: rel-.*; order: natural", "rel-9 rel-10", "rel-10"),
        case(
            "a pattern with a group counts by it",
            r"pattern: ^main-[0-9a-f]+-(?P<n>\d+)$",
            "main-fff-2 main-000-11",
            "main-000-11",
        ),
        case("and takes the whole tag", r"pattern: main-(?P<n>\d+)", "main-2 main-11-debug xmain-12", "main-2")
            .lost("main-11-debug=no_match xmain-12=no_match"),
    ] {
        let Case { label, follow, current, tags: list, winner, lost } = case;
        let (policy, tags, current) = (policy(follow), tags(list), current.map(tag));
        let choice = policy.choose(&tags, current.as_ref());
        assert_eq!(choice.winner.map(Tag::as_str), winner, "{label}: {:?}", choice.losers);
        for pair in lost.split_whitespace() {
            let (name, verdict) = pair.split_once('=').unwrap();
            let found = choice.losers.iter().find(|(tag, _)| tag.as_str() == name).map(|(_, lost)| lost.label());
            assert_eq!(found, Some(verdict), "{label}: {name}");
        }
        let others = choice.losers.len() + choice.artifacts + usize::from(choice.winner.is_some());
        assert_eq!(others, tags.len(), "{label}: every tag has a verdict");
    }
}
