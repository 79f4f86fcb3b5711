//! Commands that need no agent: the configuration, completions, the table of metrics.

use clap::CommandFactory;
use serde_json::json;

use super::args::{Cli, ConfigCommand};
use super::exit::{Exit, Failure};
use super::out::{Out, Tone, safe};
use crate::config::{self, Config};

pub(super) fn config(out: &mut Out, command: &ConfigCommand, json: bool) -> Result<Exit, Failure> {
    match command {
        ConfigCommand::Default => out.text(config::default_yaml())?,
        ConfigCommand::Schema => out.json(&config::schema())?,
        ConfigCommand::Check(file) => {
            let loaded = Config::load(&file.config).map_err(|errors| Failure::new(Exit::Usage, errors))?;
            let apps = loaded.apps.iter().map(|app| app.name.as_str()).collect::<Vec<_>>();
            let origin = file.config.display().to_string();
            let warnings = loaded.warnings.iter().map(|warning| warning.told(&origin)).collect::<Vec<_>>();
            if json {
                out.json(&json!({"file": file.config, "apps": apps, "warnings": warnings}))?;
            } else {
                for warning in &warnings {
                    out.line(Tone::Warning, &format!("warning: {}", safe(warning)))?;
                }
                let text = format!("{} is in order; its apps: {}", file.config.display(), apps.join(", "));
                out.line(Tone::Good, &text)?;
            }
        }
    }
    Ok(Exit::Done)
}

pub(super) fn completions(out: &mut Out, shell: clap_complete::Shell) -> Result<Exit, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "tagboat", &mut script);
    out.text(&String::from_utf8_lossy(&script))?;
    Ok(Exit::Done)
}

pub(super) fn metrics(out: &mut Out) -> Result<Exit, Failure> {
    out.text(&crate::http::metrics_table())?;
    Ok(Exit::Done)
}
