//! The engine goes away in the middle of a swap, and comes back.

use crate::support::Daemon;

use super::*;

/// What happens to the engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::matrix) enum Blow {
    /// It is asked to end, as by `systemctl restart docker`.
    Restarted,
    /// `kill -9`.
    Killed,
    /// Everything ends at once: it, its containers, and all of tagboat.
    PowerCut,
}

impl Blow {
    pub(in crate::matrix) const ALL: [Self; 3] = [Self::Restarted, Self::Killed, Self::PowerCut];

    pub(in crate::matrix) fn label(self) -> &'static str {
        match self {
            Self::Restarted => "restarted",
            Self::Killed => "killed",
            Self::PowerCut => "power cut",
        }
    }
}

/// How long it is away after its end.
const AWAY: Duration = Duration::from_secs(1);

impl Lane {
    /// A swap in the middle of which that happens. The time to converge counts from when the engine answers again.
    pub(in crate::matrix) async fn struck(&mut self, engine: &mut Daemon, point: Point, blow: Blow) -> Verdict {
        let place = format!("{} {point:?} {} live={}", self.strategy.label(), blow.label(), engine.live);
        let armed = self.program.failpoints().join("armed");
        let before = format!("v{}", self.version);
        std::fs::write(&armed, point.armed(&format!("v{} {}", self.version + 1, blow.label()))).unwrap();
        let load = self
            .port
            .map(|port| Load::start(port, &["--rps", "100", "--mode", "close", "--conns", "1000", "--patience", "20"]));
        let (version, digest) = self.push().await;
        let mut verdict = Verdict {
            strategy: self.strategy.label(),
            effect: format!("{} {}", point.name, point.nth),
            harm: Harm::Intact,
            failed: 0,
            gap: Duration::ZERO,
            converged: Duration::ZERO,
            orphans: 0,
            problems: Vec::new(),
        };
        let program = &self.program;
        let halted =
            tokio::time::timeout(LIMIT, wait_for(LIMIT * 2, "the agent stands still", || async { program.halted() }));
        let Ok(agent) = halted.await else {
            let state = self.program.status().await;
            verdict.problems.push(format!("{place}: the side effect never came\n{state:#?}\n{}", tail(&self.program)));
            let _ = std::fs::remove_file(armed);
            return verdict;
        };
        std::fs::remove_file(armed).unwrap();
        self.strike_engine(engine, agent, blow).await;
        let back = Instant::now();
        if let Err(problem) = self.converged(&digest, back).await {
            let states: Vec<Value> = self.containers().iter().map(|c| c["State"].clone()).collect();
            let engine = last_lines(&engine.log(), 25);
            verdict.problems.push(format!("{place}: {problem}\n{states:?}\n{engine}\n{}", tail(&self.program)));
        }
        verdict.converged = back.elapsed();
        verdict.orphans = self.containers().len().saturating_sub(1);
        if let Some(load) = load {
            self.judge_struck(&load.finish().0, (&before, &version), &mut verdict, &place, engine.live, blow);
        }
        if let Err(problem) = self.history(&digest, Harm::Intact).await {
            verdict.problems.push(format!("{place}: {problem}"));
        }
        let only = self.containers();
        let restarts = only.first().map_or(0, |c| c["RestartCount"].as_u64().unwrap_or_default());
        eprintln!(
            "{place}: {:?}, {} failed, gap {:?}, {restarts} restarts, {} problems",
            verdict.converged,
            verdict.failed,
            verdict.gap,
            verdict.problems.len()
        );
        verdict.problems.iter().for_each(|problem| eprintln!("{}", problem.chars().take(9000).collect::<String>()));
        verdict
    }

    async fn strike_engine(&mut self, engine: &mut Daemon, agent: u32, blow: Blow) {
        match blow {
            Blow::Restarted => {
                engine.terminate();
                // It goes on while the engine ends.
                signal_pid(agent, Signal::CONT);
                engine.ended();
            }
            Blow::Killed => {
                engine.kill();
                signal_pid(agent, Signal::CONT);
            }
            Blow::PowerCut => {
                let proxy = self.program.child("proxy");
                signal_pid(self.program.supervisor(), Signal::KILL);
                signal_pid(agent, Signal::KILL);
                proxy.into_iter().for_each(|pid| signal_pid(pid, Signal::KILL));
                engine.cut();
                self.program.start();
            }
        }
        tokio::time::sleep(AWAY).await;
        engine.resume();
    }

    fn judge_struck(
        &self,
        report: &Value,
        (before, version): (&str, &str),
        verdict: &mut Verdict,
        place: &str,
        live: bool,
        blow: Blow,
    ) {
        verdict.failed = report["failed"].as_u64().unwrap();
        let moment = |version: &str, key: &str| report["versions"][version][key].as_u64();
        if let (Some(last), Some(first)) = (moment(before, "last_unix_ms"), moment(version, "first_unix_ms")) {
            verdict.gap = Duration::from_millis(first.saturating_sub(last));
        }
        if live && blow != Blow::PowerCut && self.strategy.is_declared() && verdict.failed > 0 {
            verdict.problems.push(format!("{place}: {} requests failed: {}", verdict.failed, report["reasons"]));
        }
        if moment(version, "first_unix_ms").is_none() {
            verdict.problems.push(format!("{place}: {version} never answered: {report:#}"));
        }
    }
}
