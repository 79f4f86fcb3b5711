use super::*;
use crate::engine::simulated::{World, index};

#[tokio::test(start_paused = true)]
async fn who_was_told_of_a_push_does_not_hear_what_was_before_it() {
    let (world, checks) = (World::default(), Checks::default());
    let app = world.app("shop", "registry.test/acme/shop", "one");
    world.push(&app, &index("one", &[]));
    let tag: Tag = "latest".parse().unwrap();
    let names: Vec<AppName> = (0..7).map(|n| format!("app-{n}").parse().unwrap()).collect();
    let asking = |n: usize, age: u64| {
        let age = Duration::from_secs(age);
        checks.resolve(&world, &names[n], (&app.image, &tag), None, age)
    };
    let looks = || world.looks.lock().unwrap().len();
    asking(0, 0).await.unwrap();
    for (label, app, age, later, looked) in [
        ("another's poll soon after is answered by it", 1, 30, 10, 1),
        ("one's own is not", 0, 30, 1, 2),
        ("a webhook is not", 1, 0, 10, 3),
        ("a poll much later is not", 0, 30, 40, 4),
    ] {
        tokio::time::advance(Duration::from_secs(later)).await;
        asking(app, age).await.unwrap();
        assert_eq!(looks(), looked, "{label}");
    }
    // Three at once, while none is under way: the first asks, and its question is not older than theirs.
    tokio::time::advance(Duration::from_secs(60)).await;
    let (a, b, c) = tokio::join!(asking(0, 0), asking(1, 0), asking(2, 0));
    assert!(a.is_ok() && b.is_ok() && c.is_ok());
    assert_eq!(looks(), 5);
}

#[tokio::test(start_paused = true)]
async fn a_failure_is_shared_and_not_kept_from_who_comes_later() {
    let (world, checks) = (World::default(), Checks::default());
    let app = world.app("shop", "registry.test/acme/shop", "one");
    let tag: Tag = "latest".parse().unwrap();
    let names: Vec<AppName> = ["a", "b"].map(|name| name.parse().unwrap()).to_vec();
    let ask = |n: usize, age: u64| {
        let age = Duration::from_secs(age);
        checks.resolve(&world, &names[n], (&app.image, &tag), None, age)
    };
    let (a, b) = tokio::join!(ask(0, 0), ask(1, 0));
    assert_eq!((a.unwrap_err().message, b.unwrap_err().message), ("no such tag".to_owned(), "no such tag".to_owned()));
    assert_eq!(world.looks.lock().unwrap().len(), 1);
    world.push(&app, &index("one", &[]));
    tokio::time::advance(Duration::from_secs(1)).await;
    ask(1, 30).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_nobody_asks_for_any_more_is_forgotten() {
    let (world, checks) = (World::default(), Checks::default());
    let tag: Tag = "latest".parse().unwrap();
    for n in 0..100 {
        let app = world.app("shop", &format!("registry.test/acme/shop-{n}"), "one");
        let _ = checks.resolve(&world, &app.name, (&app.image, &tag), None, Duration::ZERO).await;
        tokio::time::advance(OLD / 10).await;
    }
    assert!(checks.0.lock().unwrap().len() < 60);
}
