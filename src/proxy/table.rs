//! The route table on disk: what serves, and since when.
//!
//! Two copies, each written beside, flushed and renamed into place. A line has a checksum of its own: the first says
//! which generation the copy is, each further one is an app. A line that was damaged loses only itself, and the other
//! copy may still have it.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::model::{AppEntry, AppName, Table};

const COPIES: [&str; 2] = ["routes.a", "routes.b"];

/// The first line.
#[derive(Debug, Serialize, Deserialize)]
struct Head {
    format: u32,
    generation: u64,
    /// How many lines follow: a copy that was torn between two lines is damaged too.
    apps: usize,
    /// The kernel's id of the boot in which it was written, where it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    boot: Option<String>,
}

/// The format of a copy; another one is not read.
const FORMAT: u32 = 1;

/// One app's line.
#[derive(Debug, Serialize, Deserialize)]
struct Line {
    app: AppName,
    entry: AppEntry,
}

/// What could be read of a copy.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Decoded {
    /// The copy's generation; `None` when even that is damaged.
    pub generation: Option<u64>,
    /// The apps whose lines are whole.
    pub apps: BTreeMap<AppName, AppEntry>,
    /// How many lines are not, or are missing.
    pub damaged: usize,
    /// The boot in which it was written, if it says so.
    pub boot: Option<String>,
}

/// Writes a table in the form of a copy.
fn encode(table: &Table, boot: Option<&str>) -> Vec<u8> {
    let (generation, boot) = (table.generation, boot.map(str::to_owned));
    let head = Head { format: FORMAT, generation, apps: table.apps.len(), boot };
    let apps = table.apps.iter().map(|(app, entry)| line(&Line { app: app.clone(), entry: entry.clone() }));
    std::iter::once(line(&head)).chain(apps).collect::<String>().into_bytes()
}

/// A value as a line with its checksum.
pub(super) fn line(value: &impl Serialize) -> String {
    let json = serde_json::to_string(value).expect("what is kept can be written as JSON");
    format!("{:08x} {json}\n", crc32fast::hash(json.as_bytes()))
}

/// Reads what is whole of a copy.
pub fn decode(bytes: &[u8]) -> Decoded {
    let mut decoded = Decoded::default();
    let mut lines = bytes.split(|b| *b == b'\n');
    let head = lines.next().and_then(checked).and_then(|json| serde_json::from_slice::<Head>(json).ok());
    let head = head.filter(|head| head.format == FORMAT);
    decoded.generation = head.as_ref().map(|head| head.generation);
    for line in lines.filter(|line| !line.is_empty()) {
        match checked(line).and_then(|json| serde_json::from_slice::<Line>(json).ok()) {
            Some(line) => {
                decoded.apps.insert(line.app, line.entry);
            }
            None => decoded.damaged += 1,
        }
    }
    let Some(head) = head else { return Decoded { damaged: decoded.damaged + 1, ..decoded } };
    decoded.damaged = decoded.damaged.max(head.apps.saturating_sub(decoded.apps.len()));
    Decoded { boot: head.boot, ..decoded }
}

/// The JSON of a line whose checksum is right.
pub(super) fn checked(line: &[u8]) -> Option<&[u8]> {
    let (sum, json) = line.split_at_checked(8)?;
    let sum = u32::from_str_radix(std::str::from_utf8(sum).ok()?, 16).ok()?;
    let json = json.strip_prefix(b" ")?;
    (crc32fast::hash(json) == sum).then_some(json)
}

/// Where the table is kept.
#[derive(Debug, Clone)]
pub(super) struct TableFile {
    dir: PathBuf,
    boot: Option<String>,
}

impl TableFile {
    /// Reads the table as far as it can be read. Copies that are damaged are told and kept beside.
    ///
    /// After a boot the containers have other addresses, and what they had may be another's by now: all are unknown then
    /// until the agent has looked.
    pub(super) fn load(dir: &Path) -> (Self, Table) {
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok().map(|id| id.trim().to_owned());
        Self::load_in(dir, boot)
    }

    fn load_in(dir: &Path, boot: Option<String>) -> (Self, Table) {
        let file = Self { dir: dir.to_owned(), boot };
        let mut copies: Vec<Decoded> = COPIES.iter().filter_map(|name| file.read(name)).collect();
        copies.sort_by_key(|copy| std::cmp::Reverse(copy.generation));
        let mut table = Table::default();
        for copy in copies {
            table.generation = table.generation.max(copy.generation.unwrap_or_default());
            let rebooted = copy.boot.is_some() && file.boot.is_some() && copy.boot != file.boot;
            for (app, mut entry) in copy.apps {
                if rebooted {
                    let targets = entry.active.iter_mut().chain(&mut entry.previous);
                    targets.for_each(|target| target.addr.set_ip(Ipv4Addr::UNSPECIFIED.into()));
                }
                table.apps.entry(app).or_insert(entry);
            }
            if rebooted {
                tracing::info!("the machine was started anew: requests wait until the agent has found the containers");
            }
            // An older copy only makes up for damage: it may name apps that have been dropped since.
            if copy.damaged == 0 {
                break;
            }
        }
        (file, table)
    }

    fn read(&self, name: &str) -> Option<Decoded> {
        let path = self.dir.join(name);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => {
                tracing::error!(path = %path.display(), %error, "a copy of the route table can't be read");
                return None;
            }
        };
        let decoded = decode(&bytes);
        if decoded.damaged > 0 {
            let kept = self.dir.join(format!("{name}.damaged"));
            // Evidence only: that it can't be kept changes nothing.
            let _ = fs::copy(&path, &kept);
            tracing::error!(
                path = %path.display(),
                kept = %kept.display(),
                damaged_lines = decoded.damaged,
                whole_apps = decoded.apps.len(),
                "a copy of the route table is damaged; what is whole of it is used"
            );
        }
        Some(decoded)
    }

    /// Writes both copies; on disk when it returns. After an error the table on disk is still `old`.
    pub(super) async fn write(&self, new: &Table, old: &Table) -> io::Result<()> {
        let boot = self.boot.as_deref();
        let (dir, new, old) = (self.dir.clone(), encode(new, boot), encode(old, boot));
        let written = tokio::task::spawn_blocking(move || {
            replace(&dir, &COPIES, &new).inspect_err(|_| {
                // Only if the disk failed between the renames is there anything to put back; else this changes nothing.
                let _ = replace(&dir, &COPIES, &old);
            })
        });
        written.await.map_err(io::Error::other)?
    }

    pub(super) fn place(&self) -> std::path::Display<'_> {
        self.dir.display()
    }
}

/// All copies beside and flushed, then all renamed, then the directory flushed: at no moment is there half a file
/// under a name, and a full disk is noticed before anything is replaced.
pub(super) fn replace(dir: &Path, names: &[&str], bytes: &[u8]) -> io::Result<()> {
    let beside = |name: &str| dir.join(format!("{name}.new"));
    for name in names {
        let mut file = File::create(beside(name))?;
        file.write_all(bytes)?;
        file.sync_all()?;
    }
    for name in names {
        fs::rename(beside(name), dir.join(name))?;
    }
    File::open(dir)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{ContainerId, Generation, Route, Target};
    use proptest::prelude::*;

    fn table(apps: &[&str], generation: u64) -> Table {
        let entry = |app: &str| AppEntry {
            revision: 3,
            routes: vec![Route { listen: ":80".parse().unwrap(), host: Some(app.to_owned()), path: "/".into() }],
            active: vec![Target {
                container: ContainerId(app.repeat(10)),
                addr: "10.0.0.1:80".parse().unwrap(),
                generation: Generation(2),
            }],
            previous: vec![],
            since: "2026-01-01T00:00:00Z".parse().unwrap(),
        };
        Table { generation, apps: apps.iter().map(|app| (app.parse().unwrap(), entry(app))).collect() }
    }

    #[tokio::test]
    async fn what_was_written_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let (file, empty) = TableFile::load(dir.path());
        assert_eq!(empty, Table::default());
        let wanted = table(&["shop", "blog"], 7);
        file.write(&wanted, &Table::default()).await.unwrap();
        assert_eq!(TableFile::load(dir.path()).1, wanted);
    }

    #[tokio::test]
    async fn addresses_of_before_a_boot_are_unknown_and_everything_else_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let named = |id: &str| Some(id.to_owned());
        for (written, read, known) in [
            (named("one"), named("one"), true),
            (named("one"), named("two"), false),
            (None, named("two"), true),
            (named("one"), None, true),
        ] {
            let file = TableFile { dir: dir.path().to_owned(), boot: written.clone() };
            let wanted = table(&["shop"], 7);
            file.write(&wanted, &Table::default()).await.unwrap();
            let (_, mut found) = TableFile::load_in(dir.path(), read.clone());
            let target = &mut found.apps.values_mut().next().unwrap().active[0];
            assert_eq!(target.addr.ip().is_unspecified(), !known, "{written:?} {read:?}");
            assert_eq!(target.addr.port(), 80);
            target.addr = "10.0.0.1:80".parse().unwrap();
            assert_eq!(found, wanted);
        }
    }

    #[tokio::test]
    async fn a_copy_that_is_lost_or_torn_is_made_up_for_by_the_other() {
        let dir = tempfile::tempdir().unwrap();
        let (file, _) = TableFile::load(dir.path());
        let wanted = table(&["shop", "blog"], 7);
        file.write(&wanted, &Table::default()).await.unwrap();
        let torn = dir.path().join("routes.a");
        let bytes = fs::read(&torn).unwrap();
        fs::write(&torn, &bytes[..bytes.len() / 2]).unwrap();
        assert_eq!(TableFile::load(dir.path()).1, wanted);
        assert!(dir.path().join("routes.a.damaged").exists());
        fs::remove_file(&torn).unwrap();
        assert_eq!(TableFile::load(dir.path()).1, wanted);
    }

    #[tokio::test]
    async fn the_newer_copy_wins() {
        let dir = tempfile::tempdir().unwrap();
        let mut old = table(&["shop"], 1);
        old.apps.values_mut().for_each(|entry| entry.revision = 1);
        old.apps.extend(table(&["dropped"], 1).apps);
        fs::write(dir.path().join("routes.a"), encode(&old, None)).unwrap();
        fs::write(dir.path().join("routes.b"), encode(&table(&["shop"], 2), None)).unwrap();
        assert_eq!(TableFile::load(dir.path()).1, table(&["shop"], 2));
    }

    #[test]
    fn a_copy_torn_between_two_lines_is_damaged() {
        let bytes = encode(&table(&["shop", "blog"], 7), Some("boot"));
        let last = bytes.iter().rposition(|b| *b == b'{').unwrap();
        let torn = &bytes[..bytes[..last].iter().rposition(|b| *b == b'\n').unwrap() + 1];
        assert_eq!(decode(torn).damaged, 1);
    }

    #[tokio::test]
    async fn a_directory_that_can_t_be_written_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let (file, _) = TableFile::load(&dir.path().join("absent"));
        assert!(file.write(&table(&["shop"], 1), &Table::default()).await.is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_can_be_decoded(bytes in prop::collection::vec(any::<u8>(), 0..500)) {
            let decoded = decode(&bytes);
            prop_assert!(decoded.apps.is_empty());
        }

        #[test]
        fn a_changed_byte_loses_one_line_at_most(position in any::<prop::sample::Index>(), byte in any::<u8>()) {
            let wanted = table(&["shop", "blog", "mail"], 9);
            let mut bytes = encode(&wanted, None);
            let at = position.index(bytes.len());
            prop_assume!(bytes[at] != byte && bytes[at] != b'\n' && byte != b'\n');
            // A checksum's hex digit in the other case is the same number.
            prop_assume!(!bytes[at].eq_ignore_ascii_case(&byte));
            bytes[at] = byte;
            let decoded = decode(&bytes);
            prop_assert_eq!(decoded.damaged, 1);
            prop_assert!(decoded.apps.len() + usize::from(decoded.generation.is_some()) == 3);
            prop_assert!(decoded.apps.iter().all(|(app, entry)| wanted.apps.get(app) == Some(entry)));
        }
    }
}
