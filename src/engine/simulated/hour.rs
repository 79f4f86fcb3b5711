//! Many apps over an hour, on a paused clock.

use super::*;

const HOUR: Duration = Duration::from_secs(3600);

/// Set in the process that has the hour for itself, so that its memory and CPU time are the apps' alone.
const ALONE: &str = "TAGBOAT_TEST_HOUR";

const APPS: usize = 10_000;

fn many(world: &World, count: usize, every: Duration) -> Vec<App> {
    let apps = (0..count).map(|n| {
        let app = world.app(&format!("app-{n}"), &format!("registry.test/acme/app-{n}"), "one");
        world.push(&app, &index("one", &[("amd64", "one")]));
        App { schedule: Schedule::Every(every), ..app }
    });
    apps.collect()
}

/// Resident memory in KiB, and CPU time in hundredths of a second (proc_pid_stat(5)).
fn cost() -> (u64, u64) {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let rss = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields = stat.rsplit_once(')').unwrap().1.split_whitespace();
    (
        rss.trim().trim_end_matches(" kB").parse().unwrap(),
        fields.skip(11).take(2).map(|field| field.parse::<u64>().unwrap()).sum(),
    )
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_tags_over_an_hour_are_looked_at_evenly_and_cost_the_same_at_its_end() {
    if std::env::var_os(ALONE).is_some() {
        return an_hour_alone().await;
    }
    let mut child = std::process::Command::new(std::env::current_exe().unwrap());
    let name = std::thread::current().name().unwrap().to_owned();
    let output = child.args([&name, "--exact", "--nocapture"]).env(ALONE, "1").output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
}

async fn an_hour_alone() {
    let world = Arc::new(World::default());
    let every = Duration::from_secs(600);
    let apps = many(&world, APPS, every);
    let begun = Instant::now();
    let running = Running::start(&world, world.clone(), apps);
    let mut costs = Vec::new();
    let mut histogram = Vec::new();
    let bucket = Duration::from_secs(30);
    for slice in 1..=120_u32 {
        tokio::time::sleep_until(begun + bucket * slice).await;
        // What was looked at is counted and let go, or the record itself would be what grows.
        histogram.push(std::mem::take(&mut *world.looks.lock().unwrap()).len());
        if slice % 40 == 0 {
            costs.push(cost());
        }
    }
    running.end().await;
    let (first, rest) = histogram.split_at(1);
    eprintln!("looks in each half minute: {histogram:?}; (KiB, ticks) after 20, 40 and 60 minutes: {costs:?}");
    assert!(first.iter().sum::<usize>() >= APPS, "each was looked at at once: {first:?}");
    // 500 are to be expected, with a deviation of 22.
    assert!(rest.iter().all(|looks| (350..=650).contains(looks)), "{rest:?}");
    let [(early, a), (_, b), (late, c)] = costs[..] else { panic!("{costs:?}") };
    assert!(late < early + early / 20, "memory grew: {costs:?}");
    let (middle, last) = (b - a, c - b);
    assert!(last <= 2 * middle + 10, "the last twenty minutes cost much more than those before: {costs:?}");
}

#[tokio::test(start_paused = true)]
async fn looks_are_as_far_apart_as_the_rate_limit_needs() {
    let world = Arc::new(World::default());
    *world.spacing.lock().unwrap() = Some(Duration::from_secs(600));
    let running = Running::start(&world, world.clone(), many(&world, 10, Duration::from_secs(60)));
    tokio::time::sleep(HOUR).await;
    let looks = world.looks.lock().unwrap().len();
    // One at the start, then about six.
    assert!((60..=80).contains(&looks), "{looks}");
    *world.spacing.lock().unwrap() = None;
    tokio::time::sleep(HOUR).await;
    let more = world.looks.lock().unwrap().len() - looks;
    assert!(more > 450, "{more}");
    running.end().await;
}

#[tokio::test(start_paused = true)]
async fn several_apps_on_one_tag_share_its_looks() {
    let world = Arc::new(World::default());
    let app = |n: usize| world.app(&format!("app-{n}"), "registry.test/acme/shared", "one");
    let apps: Vec<App> = (0..5).map(app).collect();
    world.push(&apps[0], &index("one", &[("amd64", "one")]));
    let running = Running::start(&world, world.clone(), apps.clone());
    tokio::time::sleep(HOUR).await;
    let looks = world.looks.lock().unwrap().len();
    assert!((55..=130).contains(&looks), "{looks} looks in an hour, at one a minute; each alone would be 300");

    // All of them notice a push, whoever looked.
    world.push(&apps[0], &index("two", &[("amd64", "two")]));
    tokio::time::sleep(Duration::from_secs(150)).await;
    let two = Digest::of(b"two");
    running.until("each has seen it", |all| all.iter().all(|app| app.newest.as_ref() == Some(&two))).await;
    running.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_look_that_failed_is_repeated_before_a_long_schedule_comes_round() {
    let world = Arc::new(World::default());
    let app = App { schedule: Schedule::Every(HOUR), ..world.app("shop", "registry.test/acme/shop", "one") };
    let running = Running::start(&world, world.clone(), vec![app.clone()]);
    tokio::time::sleep(Duration::from_secs(120)).await;
    let looks = world.looks.lock().unwrap().len();
    assert!((3..=5).contains(&looks), "{looks}: at once, then after 15, 30, 60 s and a little more");
    world.push(&app, &index("one", &[("amd64", "one")]));
    tokio::time::sleep(Duration::from_secs(150)).await;
    assert_eq!(running.handle.status("shop").unwrap().state, AppState::UpToDate);
    let looks = world.looks.lock().unwrap().len();
    tokio::time::sleep(Duration::from_secs(300)).await;
    assert!(world.looks.lock().unwrap().len() <= looks + 1, "then the schedule holds again");
    running.end().await;
}
