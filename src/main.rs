//! The `tagboat` program.

use std::process::ExitCode;

fn main() -> ExitCode {
    tagboat::cli::main()
}
