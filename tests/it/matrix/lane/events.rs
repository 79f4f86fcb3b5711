//! What the engine said of a lane's containers meanwhile.

use super::*;

/// Counts by the engine's events how many containers of an app run.
pub(super) struct Watch {
    process: std::process::Child,
    running: i64,
}

impl Watch {
    pub(super) fn start(program: &Program, strategy: Strategy) -> Self {
        let docker = program.docker();
        let filter = label(program.setup.app, strategy);
        let running = docker.must(&["ps", "-q", "--filter", &filter]).lines().count();
        let mut command = std::process::Command::new("docker");
        command.args([
            "-H",
            &docker.host,
            "events",
            "--filter",
            &filter,
            "--filter",
            "event=start",
            "--filter",
            "event=die",
        ]);
        command.args(["--format", "{{.Action}}"]).stdout(std::process::Stdio::piped());
        Self { process: command.spawn().unwrap(), running: i64::try_from(running).unwrap() }
    }

    /// The least and the most that ran at any time.
    pub(super) async fn finish(mut self) -> (i64, i64) {
        // The client prints as it reads; what has happened is there.
        tokio::time::sleep(Duration::from_millis(200)).await;
        let _ = self.process.kill();
        let mut text = String::new();
        let mut out = self.process.stdout.take().unwrap();
        std::io::Read::read_to_string(&mut out, &mut text).unwrap();
        let _ = self.process.wait();
        let (mut now, mut least, mut most) = (self.running, self.running, self.running);
        for line in text.lines() {
            now += if line.trim() == "start" { 1 } else { -1 };
            (least, most) = (least.min(now), most.max(now));
        }
        (least, most)
    }
}
