//! The `tagboat` program.

use std::process::ExitCode;

/// musl's own allocator takes one lock for everything.
#[cfg(target_env = "musl")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    tagboat::cli::main()
}
