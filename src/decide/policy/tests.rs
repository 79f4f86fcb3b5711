//! What people ran into elsewhere, row by row, and what must hold for any tags.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::model::{Follow, Prerelease, Tag, TagOrder, TagPolicy, TagRule};

fn tag(text: &str) -> Tag {
    text.parse().unwrap()
}

fn tags(list: &str) -> Vec<Tag> {
    list.split_whitespace().map(tag).collect()
}

/// `key: value` pairs, separated by `;`, as they stand in `follow`; `image` is the tag there.
fn wished(text: &str) -> Result<Follow, Vec<Wrong>> {
    let mut wishes = Wishes::default();
    for pair in text.split(';').map(str::trim).filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once(": ").unwrap();
        match key {
            "image" => wishes.image_tag = Some(tag(value)),
            "tag" => wishes.tag = Some(value),
            "semver" => wishes.semver = Some(value),
            "calver" => wishes.calver = Some(value),
            "numeric" => wishes.numeric = Some(value),
            "pattern" => wishes.pattern = Some(value),
            "order" => wishes.order = Some(value),
            "prerelease" => wishes.prerelease = Some(value),
            "precision" => wishes.precision = Some(value),
            "prefix" => wishes.prefix = Some(value),
            "suffix" => wishes.suffix = Some(value),
            "allow_downgrade" => wishes.allow_downgrade = value == "true",
            _ => panic!("{key}"),
        }
    }
    settle(&wishes)
}

fn policy(text: &str) -> Policy {
    match wished(text).unwrap_or_else(|problems| panic!("{text}: {problems:?}")) {
        Follow::Policy(policy) => Policy::new(&policy).unwrap(),
        Follow::Tag(tag) => Policy::only(&tag),
        Follow::Pinned(_) => panic!("{text}"),
    }
}

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

#[test]
fn when_nothing_matches_the_nearest_are_named() {
    let shop = "ghcr.io/acme/shop".parse().unwrap();
    for (follow, current, list, says) in [
        (
            "semver: ^1.4",
            None,
            "1.3.9 2.0.0 1.5.0-rc.1 latest 1.4",
            "none of the 5 tags of ghcr.io/acme/shop is followed by semver ^1.4; the nearest: 2.0.0 (outside ^1.4), \
             1.3.9 (outside ^1.4), 1.5.0-rc.1 (a pre-release; `prerelease` is none)",
        ),
        (
            "semver: ^1; image: 1.2.0-alpine",
            None,
            "1.3.0 1.4",
            "none of the 2 tags of ghcr.io/acme/shop is followed by semver ^1, suffix -alpine; the nearest: 1.4 (its suffix \
             is not -alpine), 1.3.0 (its suffix is not -alpine)",
        ),
        (
            "semver: ^1",
            Some("1.1.0"),
            "1.0.5",
            "none of the 1 tags of ghcr.io/acme/shop is followed by semver ^1; the nearest: 1.0.5 (below 1.1.0, which \
             served last; see `allow_downgrade`)",
        ),
        ("semver: ^1", None, "", "ghcr.io/acme/shop has no tags yet; semver ^1 waits for one"),
    ] {
        let (policy, tags, current) = (policy(follow), tags(list), current.map(tag));
        let choice = policy.choose(&tags, current.as_ref());
        assert_eq!(policy.unmatched(&choice, &shop, current.as_ref()), says, "{follow}");
    }
}

#[test]
fn what_is_wished_is_settled_or_refused_with_a_way_out() {
    for (wish, key, says) in [
        ("", "", "must have one of"),
        ("semver: ^1; tag: latest", "", "it has tag and semver"),
        ("semver: soon", "semver", "no version"),
        ("semver: ^1; prerelease: rc", "prerelease", "none, same, any"),
        ("semver: ^1; prerelease: same", "prerelease", "needs a pre-release"),
        ("semver: ^1; image: 1.0.0; prerelease: same", "prerelease", "needs a pre-release"),
        ("semver: ^1; precision: 4", "precision", "1, 2, 3 or any"),
        ("semver: ^1; image: latest", "image", "leave the tag out"),
        ("semver: ^1; image: 1.4.2-acme", "image", "suffix: \"-acme\""),
        ("semver: ^1; image: 1.4.2-alpine; suffix: -slim", "image", "does not end with"),
        ("semver: ^1; image: 1.4.2; prefix: debian-", "image", "does not begin with"),
        ("semver: ^1; image: 1.43.3.10896", "image", "`numeric`"),
        ("semver: ^1; image: 2022.04.1", "image", "`calver`"),
        ("semver: ^1; order: natural", "order", "belongs to `pattern`"),
        ("numeric: build-.*", "numeric", "no group"),
        ("numeric: (", "numeric", "no regular expression"),
        (r"numeric: (?P<n>\d+); image: main", "image", "does not match"),
        ("pattern: sha-[0-9a-f]{7}", "pattern", "no group to compare"),
        ("pattern: .*; order: newest", "order", "numeric, alphabetical, natural"),
        ("pattern: .*; order: numeric", "pattern", "no group"),
        ("pattern: .*; order: natural; suffix: -alpine", "suffix", "belongs to `semver`"),
        ("calver: YYYY.Q", "calver", "none of"),
        ("tag: a b", "tag", "not valid"),
        ("tag: stable; image: latest", "tag", "already"),
        ("tag: stable; allow_downgrade: true", "allow_downgrade", "leave it out"),
    ] {
        let problems = wished(wish).unwrap_err();
        assert!(problems.iter().any(|p| p.key == key && p.message.contains(says)), "{wish}: {problems:?}");
    }
    let all = wished("semver: soon; prerelease: rc; precision: 9; order: x").unwrap_err();
    assert_eq!(all.len(), 4, "all at once: {all:?}");
}

#[test]
fn the_tag_in_image_gives_the_shape() {
    for (wish, suffix, precision, prerelease) in [
        ("semver: ^1", "", Some(3), Prerelease::None),
        ("semver: ^1; image: 1.12-alpine", "-alpine", Some(2), Prerelease::None),
        ("semver: ^1; image: 1.12.3-alpine3.18", "-alpine3.18", Some(3), Prerelease::None),
        ("semver: ^1; image: 1.5.0-rc.1-slim; prerelease: same", "-slim", Some(3), Prerelease::Same),
        ("semver: ^1; image: 1; precision: any", "", None, Prerelease::None),
        ("semver: ^1.0.0-0", "", Some(3), Prerelease::Any),
        ("semver: ^1.0.0-0; prerelease: none", "", Some(3), Prerelease::None),
    ] {
        let Ok(Follow::Policy(TagPolicy { rule, .. })) = wished(wish) else { panic!("{wish}") };
        let TagRule::Semver { suffix: s, precision: p, prerelease: pre, .. } = rule else { panic!("{wish}") };
        assert_eq!((s.as_str(), p, pre), (suffix, precision, prerelease), "{wish}");
    }
    let orders = [("numeric: a(\\d+)", TagOrder::Numeric), ("pattern: a(\\d+)", TagOrder::Numeric)];
    for (wish, order) in orders {
        let Ok(Follow::Policy(policy)) = wished(wish) else { panic!("{wish}") };
        assert!(matches!(policy.rule, TagRule::Pattern { order: found, .. } if found == order), "{wish}");
    }
}

#[test]
fn an_expression_that_others_would_choke_on_ends() {
    let policy = policy(r"pattern: (a*)*(b|[^c])*; order: natural");
    let long = tags(&"a".repeat(128));
    assert!(policy.pick(&long, None).is_some());
}

const POLICIES: [&str; 9] = [
    "semver: ^1",
    "semver: *; precision: any; prerelease: any",
    "semver: >=0.0.0-0 <2; image: v1.0.0-rc.1",
    "semver: *; suffix: -alpine",
    "calver: YY.0M.MICRO",
    r"numeric: v?(?P<a>\d+)\.(?P<b>\d+)(?:\.(?P<c>\d+))?",
    r"pattern: (.*?)-(.*); order: natural",
    "pattern: .*; order: alphabetical",
    "tag: latest",
];

/// Tags that look like versions, and any others.
fn any_tag() -> impl Strategy<Value = Tag> {
    let likely = "v?[0-2]{1,2}(\\.0?[0-2]){0,3}(-(rc|beta)?\\.?[0-9]{0,2}|-alpine|_[0-9])?";
    let texts = prop_oneof![3 => likely, 1 => "[A-Za-z0-9_][A-Za-z0-9._-]{0,30}"];
    texts.prop_map(|text| text.parse().unwrap())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn the_winner_does_not_depend_on_the_order_of_the_list(
        list in prop::collection::btree_set(any_tag(), 0..12),
        current in prop::option::of(any_tag()),
        seed in any::<u64>(),
    ) {
        let sorted: Vec<Tag> = list.into_iter().collect();
        let mut shuffled = sorted.clone();
        shuffled.sort_by_key(|tag| crate::model::Digest::of(format!("{seed}{tag}").as_bytes()));
        for text in POLICIES {
            let policy = policy(text);
            let (one, other) = (policy.choose(&sorted, current.as_ref()), policy.choose(&shuffled, current.as_ref()));
            prop_assert_eq!(&one, &other, "{}", text);
            prop_assert_eq!(one.winner, policy.pick(&shuffled, current.as_ref()), "{}", text);
            let told: BTreeSet<&Tag> = one.losers.iter().map(|(tag, _)| *tag).chain(one.winner).collect();
            prop_assert_eq!(told.len() + one.artifacts, sorted.len(), "{}", text);
        }
    }

    #[test]
    fn the_order_of_tags_is_total(list in prop::collection::vec(any_tag(), 3)) {
        for text in POLICIES {
            let policy = policy(text);
            let keys: Vec<_> = list.iter().filter_map(|tag| policy.judge(tag).0).collect();
            for a in &keys {
                for b in &keys {
                    prop_assert_eq!(policy.compare(a, b), policy.compare(b, a).reverse(), "{}", text);
                    for c in &keys {
                        if policy.compare(a, b).is_le() && policy.compare(b, c).is_le() {
                            prop_assert!(policy.compare(a, c).is_le(), "{}: {:?} {:?} {:?}", text, a, b, c);
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn what_won_is_never_left_for_something_below(list in prop::collection::btree_set(any_tag(), 1..12), cut in any::<u8>()) {
        let all: Vec<Tag> = list.into_iter().collect();
        for text in POLICIES {
            let policy = policy(text);
            let Some(first) = policy.pick(&all, None).cloned() else { continue };
            let rest: Vec<Tag> = all.iter().enumerate().filter(|(i, _)| cut >> (i % 8) & 1 == 1).map(|(_, t)| t.clone()).collect();
            if let Some(next) = policy.pick(&rest, Some(&first)) {
                let (next, first) = (policy.judge(next).0.unwrap(), policy.judge(&first).0.unwrap());
                prop_assert!(policy.compare(&next, &first).is_ge(), "{}", text);
            }
        }
    }

    #[test]
    fn no_text_makes_it_stumble(
        text in "[A-Za-z0-9_][A-Za-z0-9._-]{0,127}",
        range in "[0-9xXv.*^~<>=!| ,-]{0,20}",
        pattern in "[a-z0-9()\\[\\]|*+?.\\\\d{}^$<>P-]{0,20}",
        form in "[YMDW0.a-z-]{0,12}",
    ) {
        let list = [tag(&text), tag("1.0.0")];
        let any = Wishes { precision: Some("any"), prerelease: Some("any"), ..Wishes::default() };
        for wishes in [
            Wishes { semver: Some(&range), ..Wishes::default() },
            Wishes { pattern: Some(&pattern), order: Some("natural"), ..Wishes::default() },
            Wishes { numeric: Some(&pattern), ..Wishes::default() },
            Wishes { calver: Some(&form), ..Wishes::default() },
            Wishes { semver: Some("*"), image_tag: Some(tag(&text)), ..any },
        ] {
            if let Ok(Follow::Policy(settled)) = settle(&wishes) {
                let policy = Policy::new(&settled).unwrap();
                let choice = policy.choose(&list, None);
                let app = "shop".parse().unwrap();
                let report = policy.report(&app, &"shop".parse().unwrap(), &list, Some(&list[0]));
                prop_assert_eq!(report.winner.is_none(), report.message.is_some());
                prop_assert!(choice.losers.len() <= 2);
            }
        }
    }
}
