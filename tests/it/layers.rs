//! The order of rooms: each uses only rooms of a lower level, and the pure core waits for nothing.

use std::path::{Path, PathBuf};

/// Rooms and their levels; see docs/ARCHITECTURE.md.
const LEVELS: [(&str, u8); 19] = [
    ("model", 0),
    ("decide", 1),
    ("ports", 1),
    ("metrics", 1),
    ("listeners", 1),
    ("registry", 2),
    ("docker", 2),
    ("store", 2),
    ("proxy", 2),
    ("verify", 2),
    ("engine", 3),
    ("http", 4),
    ("config", 5),
    ("supervisor", 6),
    ("app", 7),
    ("cli", 8),
    ("main", 9),
    ("lib", 9),
    ("bin", 9),
];

/// What `decide` must not even name.
const IMPURE: [&str; 9] =
    ["async ", ".await", "tokio", "std::env", "std::fs", "std::net", "Utc::now", "rand::", "Instant"];

fn sources(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let (dirs, files): (Vec<_>, Vec<_>) = entries.partition(|path| path.is_dir());
    let rust = files.into_iter().filter(|path| path.extension().is_some_and(|ext| ext == "rs"));
    rust.chain(dirs.iter().flat_map(|dir| sources(dir))).collect()
}

fn room(path: &Path) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let first = path.strip_prefix(root).unwrap().components().next().unwrap();
    first.as_os_str().to_str().unwrap().trim_end_matches(".rs").to_owned()
}

fn level(room: &str) -> u8 {
    let known = LEVELS.iter().find(|(name, _)| *name == room);
    known.unwrap_or_else(|| panic!("room {room} has no level: add it here and to docs/ARCHITECTURE.md")).1
}

/// The code without its tests and comments.
fn code(path: &Path) -> String {
    let text = std::fs::read_to_string(path).unwrap();
    let body = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default().to_owned();
    body.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

#[test]
fn a_room_uses_only_rooms_of_a_lower_level() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut breaches = Vec::new();
    for path in sources(&root) {
        let own = room(&path);
        for used in code(&path).split("crate::").skip(1) {
            let used: String = used.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            let known = LEVELS.iter().any(|(name, _)| *name == used);
            if known && used != own && level(&used) >= level(&own) {
                breaches.push(format!(
                    "{}: {own} (level {}) uses {used} (level {})",
                    path.display(),
                    level(&own),
                    level(&used)
                ));
            }
        }
    }
    assert!(breaches.is_empty(), "{breaches:#?}");
}

#[test]
fn the_pure_core_can_t_wait_or_read_a_clock() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/decide");
    let mut breaches = Vec::new();
    for path in sources(&root) {
        let code = code(&path);
        breaches.extend(
            IMPURE.iter().filter(|word| code.contains(**word)).map(|word| format!("{}: {word}", path.display())),
        );
    }
    assert!(breaches.is_empty(), "{breaches:#?}");
}
