//! Results for a person to read: docs/RELIABILITY.md.

/// With `TAGBOAT_UPDATE`, puts a text between the marks of this name. An engine that is not Debian's has marks of its own.
pub(crate) fn written(name: &str, text: impl FnOnce() -> String) {
    if std::env::var_os("TAGBOAT_UPDATE").is_none() {
        return;
    }
    let other = ["TAGBOAT_TEST_DOCKER_HOST", "TAGBOAT_TEST_ENGINE"].iter().any(|key| std::env::var_os(key).is_some());
    // Tests of one run end at the same time.
    static TURN: std::sync::Mutex<()> = std::sync::Mutex::new(());
    let _turn = TURN.lock().unwrap();
    let mark = if other { format!("{name} newest") } else { name.to_owned() };
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/RELIABILITY.md");
    let document = std::fs::read_to_string(path).unwrap();
    let (begin, end) = (format!("<!-- {mark} -->"), format!("<!-- /{mark} -->"));
    let (before, rest) = document.split_once(&begin).unwrap_or_else(|| panic!("{path} has no {begin}"));
    let (_, after) = rest.split_once(&end).unwrap_or_else(|| panic!("{path} has no {end}"));
    std::fs::write(path, format!("{before}{begin}\n{}{end}{after}", text())).unwrap();
}
