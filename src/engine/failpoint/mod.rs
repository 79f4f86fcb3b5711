//! Places to stand still at, for the tests that kill the agent before and after every side effect.
//!
//! Every call of a port that changes something is a named side effect, `engine.rename` or `traffic.switch`: a new one
//! is a place to be killed at without anybody's doing. The decorators sit around the ports and not in the strategies,
//! so that no strategy can have an effect that has no name.
//!
//! The process does not kill itself: it stops (SIGSTOP), and the test, which sees that, does to the memory, the proxy or
//! the engine whatever it has in mind, and then kills it. Only builds with debug assertions have this room: a program
//! that stops on a word in a file is no product. What is armed stands in a file, not in the environment, because the
//! supervisor starts the agent again with the environment that it had.
//!
//! `TAGBOAT_FAILPOINTS` names a directory. `armed` in it says where to stop: `before engine.rename 2` is before the
//! second renaming from the time that this was written on; whoever arms the same place again adds a word that differs.
//! `trace` in it, when it exists, gets a line for each side effect.

mod engine;
mod traffic;

use std::io::Write;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use super::Ports;

/// The variable that names the directory.
const VARIABLE: &str = "TAGBOAT_FAILPOINTS";

/// The ports with failpoints around them, when the environment asks for that.
pub fn around(ports: Ports) -> Ports {
    let Some(dir) = std::env::var_os(VARIABLE).map(PathBuf::from) else { return ports };
    tracing::warn!(dir = %dir.display(), "failpoints are on: this process stops where a file says");
    let points = Arc::new(Points { dir, armed: Mutex::default() });
    Ports {
        engine: Arc::new(engine::Watched { inner: ports.engine, points: points.clone() }),
        traffic: Arc::new(traffic::Watched { inner: ports.traffic, points, held: Mutex::default() }),
        ..ports
    }
}

/// What was armed last, and how often its side effect has come since.
#[derive(Debug, Default)]
struct Armed {
    text: String,
    count: usize,
}

#[derive(Debug)]
struct Points {
    dir: PathBuf,
    armed: Mutex<Armed>,
}

impl Points {
    /// Just before the side effect `name`. Returns which of its name it is.
    fn before(&self, name: &str) -> usize {
        if let Ok(mut trace) = std::fs::File::options().append(true).open(self.dir.join("trace")) {
            let _ = writeln!(trace, "{name}");
        }
        let text = std::fs::read_to_string(self.dir.join("armed")).unwrap_or_default();
        let count = {
            let mut armed = self.armed.lock().expect("no holder panics");
            if armed.text != text {
                *armed = Armed { text: text.clone(), count: 0 };
            }
            if text.split_whitespace().nth(1) == Some(name) {
                armed.count += 1;
            }
            armed.count
        };
        stop_at("before", name, count, &text);
        count
    }

    /// Just after it.
    fn after(&self, name: &str, count: usize) {
        let text = self.armed.lock().expect("no holder panics").text.clone();
        stop_at("after", name, count, &text);
    }
}

fn stop_at(when: &str, name: &str, count: usize, armed: &str) {
    let mut words = armed.split_whitespace();
    let here = words.next() == Some(when) && words.next() == Some(name) && words.next() == Some(&count.to_string());
    if here {
        let own = rustix::process::getpid();
        // Whoever armed it notices the silence if this fails.
        let _ = rustix::process::kill_process(own, rustix::process::Signal::STOP);
    }
}
