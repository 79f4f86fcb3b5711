use super::*;
use crate::model::{DeploymentResult, Failure, FailureReason, Generation, SeenSource, Stage, Time};
use proptest::prelude::*;

fn at(seconds: i64) -> Time {
    Time::from_timestamp(1_700_000_000 + seconds, 0).unwrap()
}

fn deployment(number: i64) -> Deployment {
    Deployment {
        id: SwapId(format!("shop-{number}")),
        generation: Generation(u64::try_from(number).unwrap()),
        digest: Digest::of(&number.to_be_bytes()),
        previous: None,
        source: SeenSource::Webhook,
        reason: "tag_moved".into(),
        strategy: "proxy".into(),
        started: at(number),
        finished: None,
        result: DeploymentResult::Running,
        steps: vec![],
        group: None,
    }
}

fn quarantine(text: &str) -> Quarantine {
    let failure = Failure {
        stage: Stage::Gate,
        reason: FailureReason::Exited,
        message: "exited".into(),
        log_tail: vec!["bye".into()],
    };
    Quarantine { digest: Digest::of(text.as_bytes()), at: at(1), failure, spec: None, swap: None }
}

fn shop() -> AppName {
    "shop".parse().unwrap()
}

#[test]
fn what_was_written_is_there_at_the_next_start() {
    let dir = tempfile::tempdir().unwrap();
    let pin = Pin { digest: Digest::of(b"a"), tag_was: None, reason: "rollback".into(), at: at(0), with: None };
    {
        let store = SledStore::open(dir.path()).unwrap();
        store.put_pin(&shop(), Some(&pin)).unwrap();
        store.put_deployment(&shop(), &deployment(1)).unwrap();
        store.put_note("n", b"bytes").unwrap();
    }
    let store = SledStore::open(dir.path()).unwrap();
    assert_eq!(store.pin(&shop()).unwrap(), Some(pin));
    assert_eq!(store.deployment(&shop(), &SwapId("shop-1".into())).unwrap(), Some(deployment(1)));
    assert_eq!(store.note("n").unwrap(), Some(b"bytes".to_vec()));
    store.put_pin(&shop(), None).unwrap();
    assert_eq!(store.pin(&shop()).unwrap(), None);
}

#[test]
fn the_history_is_newest_first_bounded_and_per_app() {
    let dir = tempfile::tempdir().unwrap();
    let store = SledStore::open(dir.path()).unwrap();
    store.put_deployment(&"shop2".parse().unwrap(), &deployment(999)).unwrap();
    for number in 0..205 {
        store.put_deployment(&shop(), &deployment(number)).unwrap();
    }
    let all = store.deployments(&shop(), 1000).unwrap();
    assert_eq!((all.len(), all[0].generation.0, all[199].generation.0), (200, 204, 5));
    let mut ended = deployment(204);
    ended.result = DeploymentResult::Succeeded;
    store.put_deployment(&shop(), &ended).unwrap();
    assert_eq!(store.deployments(&shop(), 1).unwrap(), [ended]);
}

#[test]
fn a_quarantine_is_lifted_one_by_one_or_all_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let store = SledStore::open(dir.path()).unwrap();
    for text in ["a", "b", "c"] {
        store.put_quarantine(&shop(), &quarantine(text)).unwrap();
    }
    assert_eq!(store.lift_quarantine(&shop(), Some(&Digest::of(b"a"))).unwrap(), 1);
    assert_eq!(store.lift_quarantine(&shop(), Some(&Digest::of(b"a"))).unwrap(), 0);
    assert_eq!(store.lift_quarantine(&shop(), None).unwrap(), 2);
    assert_eq!(store.quarantine(&shop()).unwrap(), []);
}

#[test]
fn a_newer_format_is_put_aside_and_not_misread() {
    let dir = tempfile::tempdir().unwrap();
    {
        let store = SledStore::open(dir.path()).unwrap();
        store.db.open_tree(VERSIONS).unwrap().insert(SEEN, &99_u32.to_be_bytes()).unwrap();
        store.db.flush().unwrap();
    }
    let store = SledStore::open(dir.path()).unwrap();
    store.put_note("n", b"1").unwrap();
    assert_eq!(broken(dir.path()), 1);
}

#[test]
fn a_value_that_can_t_be_read_loses_only_itself() {
    let dir = tempfile::tempdir().unwrap();
    let store = SledStore::open(dir.path()).unwrap();
    store.put_quarantine(&shop(), &quarantine("a")).unwrap();
    store.db.open_tree(QUARANTINE).unwrap().insert(b"shop\0zzz", b"{rubbish").unwrap();
    assert_eq!(store.quarantine(&shop()).unwrap().len(), 1);
}

#[test]
fn a_place_that_can_t_be_written_is_made_up_for_in_memory() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("state"), b"a file where a directory should be").unwrap();
    let store = SledStore::open(&dir.path().join("state")).unwrap();
    store.put_note("n", b"1").unwrap();
    assert_eq!(store.note("n").unwrap(), Some(b"1".to_vec()));
}

#[test]
fn after_an_error_of_the_disk_everything_goes_on_in_memory() {
    let dir = tempfile::tempdir().unwrap();
    let store = SledStore::open(dir.path()).unwrap();
    store.put_quarantine(&shop(), &quarantine("a")).unwrap();
    store.writer.fail();
    store.put_quarantine(&shop(), &quarantine("b")).unwrap();
    store.put_deployment(&shop(), &deployment(1)).unwrap();
    assert_eq!(store.quarantine(&shop()).unwrap().len(), 2);
    assert_eq!(store.lift_quarantine(&shop(), None).unwrap(), 2);
    assert_eq!(store.quarantine(&shop()).unwrap(), []);
    assert_eq!(store.deployments(&shop(), 9).unwrap(), [deployment(1)]);
}

fn broken(dir: &Path) -> usize {
    let names = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.starts_with("db.broken")).count()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn damaged_files_never_keep_it_from_opening(
        cut in 0.0f64..1.0, noise in prop::collection::vec(any::<u8>(), 0..64), position in 0.0f64..1.0,
    ) {
        let dir = tempfile::tempdir().unwrap();
        {
            let store = SledStore::open(dir.path()).unwrap();
            for number in 0..20 {
                store.put_deployment(&shop(), &deployment(number)).unwrap();
            }
        }
        damage(&dir.path().join("db"), cut, &noise, position);
        let store = SledStore::open(dir.path()).unwrap();
        store.put_note("after", b"1").unwrap();
        prop_assert_eq!(store.note("after").unwrap(), Some(b"1".to_vec()));
        prop_assert!(store.deployments(&shop(), 100).is_ok());
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "a fraction of a small file's length"
)]
fn damage(db: &Path, cut: f64, noise: &[u8], position: f64) {
    for entry in std::fs::read_dir(db).unwrap() {
        let path = entry.unwrap().path();
        if !path.is_file() {
            continue;
        }
        let mut bytes = std::fs::read(&path).unwrap();
        let at = (bytes.len() as f64 * position) as usize;
        bytes.splice(at..(at + noise.len()).min(bytes.len()), noise.iter().copied());
        bytes.truncate((bytes.len() as f64 * cut) as usize);
        std::fs::write(&path, bytes).unwrap();
    }
}
