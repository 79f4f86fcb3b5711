//! The `tagboat` program.

use std::path::PathBuf;
fn main() {
    let args: Vec<String> = std::env::args().collect();
    let arg = |name: &str| args.iter().position(|a| a == name).map(|i| PathBuf::from(&args[i + 1]));
    let r = match args[1].as_str() {
        "run" => tagboat::app::run(&arg("--config").unwrap()),
        "agent" => tagboat::app::agent(&arg("--config").unwrap()).map(|e| {
            if e == tagboat::app::Ended::Restart {
                std::process::exit(75)
            }
        }),
        "proxy" => tagboat::app::proxy(tagboat::app::ProxyArgs {
            state_dir: arg("--state-dir").unwrap(),
            control: arg("--control").unwrap(),
            config: arg("--config"),
        }),
        _ => panic!(),
    };
    if let Err(e) = r {
        eprintln!("{e}");
        std::process::exit(1)
    }
}
