//! A hundred watched images, six of which move, at a registry that is broken in one way or another: what the others make
//! of the same is in docs/CHECKS.md.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::registry::tests::fake::{Asked, Fake, Notes, Reply, config, found, reply};
use crate::registry::{Client, Limits};

const IMAGES: usize = 100;
/// One of those that move is the broken one.
const MOVED: [usize; 6] = [0, 20, 40, 60, 80, 99];
const BROKEN: usize = 0;

/// What is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    None,
    /// One repository answers 500.
    Fails,
    /// One repository never answers.
    Hangs,
    /// Everything is answered with 429 and `Retry-After` once so many were let through, until then.
    Limited {
        after: usize,
        until: Instant,
    },
}

/// A registry whose tags can move and that can break.
struct Stand {
    fault: Mutex<Fault>,
    moved: Mutex<bool>,
    let_through: AtomicUsize,
    refused: AtomicUsize,
}

impl Stand {
    fn answer(&self, asked: &Asked) -> Reply {
        let (path, reference) = asked.line.rsplit_once('/').unwrap();
        let number: usize = path.trim_end_matches("/manifests").rsplit_once("app-").unwrap().1.parse().unwrap();
        let text = if *self.moved.lock().unwrap() && MOVED.contains(&number) { "new" } else { "old" };
        match *self.fault.lock().unwrap() {
            Fault::Fails if number == BROKEN => return reply(500, &[], ""),
            Fault::Hangs if number == BROKEN => return None,
            Fault::Limited { after, until }
                if Instant::now() < until && self.let_through.fetch_add(1, Ordering::Relaxed) >= after =>
            {
                self.refused.fetch_add(1, Ordering::Relaxed);
                return reply(429, &[("retry-after", "1")], "toomanyrequests");
            }
            _ => {}
        }
        if reference.starts_with("sha256:") {
            let text = ["old", "new"].into_iter().find(|text| digest_of(text).as_str() == reference).unwrap();
            return reply(200, &[], document(text));
        }
        found(asked, &digest_of(text))
    }
}

/// An index with an image for this host, and what tells one from the other.
fn document(text: &str) -> String {
    serde_json::json!({"schemaVersion": 2, "manifests": [{
        "mediaType": "application/vnd.oci.image.manifest.v1+json", "size": 1, "digest": Digest::of(text.as_bytes()),
        "platform": {"os": "linux", "architecture": "amd64"}}]})
    .to_string()
}

fn digest_of(text: &str) -> Digest {
    Digest::of(document(text).as_bytes())
}

struct Scene {
    stand: Arc<Stand>,
    fake: Fake,
    running: Running,
}

impl Scene {
    /// Everything was looked at once and is as it should be.
    async fn new() -> Self {
        let stand = Arc::new(Stand {
            fault: Mutex::new(Fault::None),
            moved: Mutex::new(false),
            let_through: AtomicUsize::new(0),
            refused: AtomicUsize::new(0),
        });
        let script = stand.clone();
        let fake = Fake::new(move |asked| script.answer(asked)).await;
        let world = Arc::new(World::default());
        let limits = Limits { short: Duration::from_secs(2), ..Limits::default() };
        let client = Client::with_limits(config(&[]), Metrics::new(), Arc::new(Notes::default()), limits);
        let app = |n: usize| {
            let app = world.app(&format!("app-{n}"), &format!("{}/app-{n}", fake.addr), &document("old"));
            App { schedule: Schedule::Every(HOUR), ..app }
        };
        let apps: Vec<App> = (0..IMAGES).map(app).collect();
        let running = Running::start(&world, Arc::new(client), apps);
        running.until("all are up to date", |all| all.iter().all(|app| app.state == AppState::UpToDate)).await;
        Self { stand, fake, running }
    }

    /// Six tags move, this breaks, and every app is asked to look.
    fn breaks(&self, fault: Fault) -> Instant {
        *self.stand.moved.lock().unwrap() = true;
        *self.stand.fault.lock().unwrap() = fault;
        self.fake.lines();
        for n in 0..IMAGES {
            self.running.handle.check(&format!("app-{n}")).unwrap();
        }
        Instant::now()
    }
}

const HOUR: Duration = Duration::from_secs(3600);

fn number(app: &AppStatus) -> usize {
    app.app.as_str().trim_start_matches("app-").parse().unwrap()
}

/// What moved is seen, what did not is known to be the same, of these apps.
fn all_is_known(apps: &[AppStatus], concerned: impl Fn(usize) -> bool) -> bool {
    apps.iter().filter(|app| concerned(number(app))).all(|app| {
        let moved = MOVED.contains(&number(app));
        let newest = if moved { "new" } else { "old" };
        let state = if moved { AppState::Held } else { AppState::UpToDate };
        app.newest == Some(digest_of(newest)) && app.state == state
    })
}

/// What can't be known is not said to be up to date.
fn is_unknown(apps: &[AppStatus], number_of: usize) -> bool {
    apps.iter().any(|app| number(app) == number_of && app.state == AppState::Unknown)
}

#[tokio::test]
async fn one_repository_that_fails_is_unknown_and_the_others_are_known() {
    let scene = Scene::new().await;
    scene.breaks(Fault::Fails);
    let done = |all: &[AppStatus]| all_is_known(all, |n| n != BROKEN) && is_unknown(all, BROKEN);
    scene.running.until("all that can be known is", done).await;
    let asked = scene.fake.lines().iter().filter(|line| line.contains("/app-0/")).count();
    assert_eq!(asked, 1, "a server that fails is not asked again at once");
    scene.running.end().await;
}

#[tokio::test]
async fn one_repository_that_hangs_delays_no_other() {
    let scene = Scene::new().await;
    let begun = scene.breaks(Fault::Hangs);
    scene.running.until("the others are known", |all| all_is_known(all, |n| n != BROKEN)).await;
    let others = begun.elapsed();
    let last = scene.running.until("it is unknown", |all| is_unknown(all, BROKEN)).await;
    assert!(all_is_known(&last, |n| n != BROKEN));
    eprintln!("one hangs: the others known after {others:?}, it given up after {:?}", begun.elapsed());
    scene.running.end().await;
}

#[tokio::test]
async fn a_registry_that_has_had_enough_is_left_in_peace_and_everything_is_found_afterwards() {
    let scene = Scene::new().await;
    let until = Instant::now() + Duration::from_millis(1500);
    let begun = scene.breaks(Fault::Limited { after: 20, until });
    scene.running.until("all are known", |all| all_is_known(all, |_| true)).await;
    let refused = scene.stand.refused.load(Ordering::Relaxed);
    eprintln!("429: {refused} refused, all known after {:?}", begun.elapsed());
    // As many as are under way at once, for each second that it asked us to wait.
    assert!(refused <= 2 * 4, "{refused} requests were refused");
    scene.running.end().await;
}
