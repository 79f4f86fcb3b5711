use super::*;
use crate::decide::fixtures::container;
use crate::model::{ContainerState, StoredImage};

const SHELF: &str = "tagboat.local/";

fn digest(version: u8) -> Digest {
    Digest::of(&[version])
}

/// An image of the given version with these names; `@` stands for the name that it was pulled by.
fn image(version: u8, names: &[&str]) -> StoredImage {
    let pulled = format!("ghcr.io/acme/shop@{}", digest(version));
    let (digests, tags): (Vec<&str>, Vec<&str>) = names.iter().partition(|name| **name == "@");
    StoredImage {
        id: format!("image-{version}"),
        tags: tags.into_iter().map(str::to_owned).collect(),
        digests: digests.iter().map(|_| pulled.clone()).collect(),
        size: 10 * u64::from(version),
    }
}

#[derive(Default)]
struct World {
    apps: BTreeMap<AppName, Watched>,
    containers: Vec<Container>,
    images: Vec<StoredImage>,
    brought: BTreeSet<Digest>,
    deployed: BTreeSet<AppName>,
}

impl World {
    /// An app that runs version 3, keeps one more, and whose version 4 failed.
    fn shop() -> Self {
        let watched = Watched {
            keep: 1,
            needed: BTreeSet::from([digest(3)]),
            quarantined: BTreeSet::from([digest(4)]),
            busy: false,
        };
        let failed = container("shop.failed-4", 4, 4);
        Self {
            apps: BTreeMap::from([("shop".parse().unwrap(), watched)]),
            containers: vec![running(container("shop-3", 3, 3)), failed],
            images: vec![
                image(1, &["tagboat.local/shop:gen-1", "@"]),
                image(2, &["tagboat.local/shop:gen-2", "@"]),
                image(3, &["tagboat.local/shop:gen-3", "@"]),
                image(4, &["@"]),
            ],
            brought: (1..=4).map(digest).collect(),
            deployed: BTreeSet::from(["shop".parse().unwrap()]),
        }
    }

    fn watched(&mut self) -> &mut Watched {
        self.apps.get_mut(&"shop".parse().unwrap()).unwrap()
    }

    fn leftovers(&self) -> Vec<Leftover> {
        let Self { apps, containers, images, brought, deployed } = self;
        leftovers(&Shelf { apps, containers, images, brought, deployed, shelf: SHELF })
    }

    /// What can go, each by its name; `@4` is the name that version 4 was pulled by.
    fn gone(&self) -> Vec<String> {
        let short = |name: &str| {
            let version = (0..9).find(|version| name.ends_with(digest(*version).as_str()));
            version.map_or(name.to_owned(), |version| format!("@{version}"))
        };
        self.leftovers().iter().map(|each| short(&each.reference)).collect()
    }
}

fn running(mut container: Container) -> Container {
    container.state = ContainerState::Running;
    container
}

#[test]
fn what_failed_and_what_is_beyond_keep_can_go_and_the_bytes_are_said_once() {
    let world = World::shop();
    assert_eq!(world.gone(), ["shop.failed-4", "tagboat.local/shop:gen-1", "@1", "@4"]);
    let bytes: Vec<Option<u64>> = world.leftovers().iter().map(|each| each.bytes).collect();
    assert_eq!(bytes, [None, None, Some(10), Some(40)]);
}

#[test]
fn whatever_is_still_referred_to_stays() {
    type Change = fn(&mut World);
    let rows: [(&str, Change, &str); 8] = [
        ("a swap is under way", |w| w.watched().busy = true, "shop.failed-4 tagboat.local/shop:gen-1 @1 @4"),
        (
            "the failure is not remembered: the container is the record of it",
            |w| w.watched().quarantined.clear(),
            "shop.failed-4 @4",
        ),
        ("a person started the failed one", |w| w.containers[1] = running(w.containers[1].clone()), "shop.failed-4 @4"),
        ("a pin wants what failed", |w| w.watched().needed.extend([digest(4)]), "@4"),
        ("a pin wants an old one", |w| w.watched().needed.extend([digest(1)]), "@1"),
        ("more are kept", |w| w.watched().keep = 2, "tagboat.local/shop:gen-1 @1"),
        ("a person tagged it too", |w| w.images[3].tags.push("mine:latest".into()), "@4"),
        ("we did not pull it", |w| w.brought.retain(|it| *it != digest(4)), "@4"),
    ];
    for (label, change, stays) in rows {
        let mut world = World::shop();
        change(&mut world);
        let all = World::shop().gone();
        let expected: Vec<&String> = all.iter().filter(|name| !stays.split(' ').any(|s| s == **name)).collect();
        assert_eq!(world.gone().iter().collect::<Vec<_>>(), expected, "{label}");
    }
}

#[test]
fn of_an_app_that_is_no_longer_watched_what_has_stopped_goes_with_its_images_and_what_runs_stays() {
    let mut world = World::shop();
    world.apps.clear();
    assert_eq!(world.gone(), ["shop.failed-4", "@4"]);
    world.containers[0].state = ContainerState::Exited;
    let all = ["shop-3", "shop.failed-4"].into_iter().chain([
        "tagboat.local/shop:gen-1",
        "@1",
        "tagboat.local/shop:gen-2",
        "@2",
        "tagboat.local/shop:gen-3",
        "@3",
        "@4",
    ]);
    assert_eq!(world.gone(), all.collect::<Vec<_>>());
    // A person's container that was swapped by name stays theirs.
    world.containers[0].owned.restart = Some("{}".into());
    assert_eq!(world.gone()[0], "shop.failed-4");
}

#[test]
fn nothing_of_anybody_else_is_ever_named() {
    let mut world = World::shop();
    world.images = vec![
        image(7, &["nginx:latest", "@"]),
        image(8, &["@"]),
        image(9, &["tagboat.local/shop:mine"]),
        image(6, &["tagboat.local/of-another-tagboat:gen-1"]),
        StoredImage { id: "dangling".into(), ..StoredImage::default() },
    ];
    assert_eq!(world.gone(), ["shop.failed-4"]);
}
