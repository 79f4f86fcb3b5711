//! What people ran into elsewhere, row by row, and what must hold for any tags.

mod cases;

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
