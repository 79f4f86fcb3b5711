//! Questions at the terminal. Not by `rpassword`: what it would add to rustix, which is here anyway, are these lines.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use secrecy::{SecretString, zeroize::Zeroizing};

/// A password is not longer.
const LONGEST: usize = 64 << 10;

/// Asks for a line.
pub(super) fn ask(question: &str) -> io::Result<String> {
    let mut terminal = terminal()?;
    terminal.write_all(question.as_bytes())?;
    let mut text = String::new();
    BufReader::new(terminal).read_line(&mut text)?;
    Ok(text.trim().to_owned())
}

/// Asks for a line that is not shown.
pub(super) fn ask_secret(question: &str) -> io::Result<SecretString> {
    let mut terminal = terminal()?;
    let answer = {
        // First this, then the question: whoever types at once must not be seen.
        let hidden = Hidden::new(&terminal)?;
        (&terminal).write_all(question.as_bytes())?;
        typed(hidden.terminal)
    };
    // The person's own return key was not shown either.
    terminal.write_all(b"\n")?;
    answer
}

fn terminal() -> io::Result<File> {
    let opened = File::options().read(true).write(true).open("/dev/tty");
    opened.map_err(|error| io::Error::new(error.kind(), format!("there is no terminal to ask at: {error}")))
}

/// As long as it lives, the terminal shows nothing of what is typed, and gives us each key: also that for an
/// interruption, which must not leave a terminal behind that shows nothing.
struct Hidden<'a> {
    terminal: &'a File,
    before: Termios,
}

impl<'a> Hidden<'a> {
    fn new(terminal: &'a File) -> io::Result<Self> {
        let before = tcgetattr(terminal)?;
        let mut hidden = before.clone();
        hidden.local_modes.remove(LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG);
        tcsetattr(terminal, OptionalActions::Flush, &hidden)?;
        Ok(Self { terminal, before })
    }
}

impl Drop for Hidden<'_> {
    fn drop(&mut self) {
        // Where that fails, the terminal is gone.
        let _ = tcsetattr(self.terminal, OptionalActions::Drain, &self.before);
    }
}

/// What is typed up to the return key, with the keys that take back.
fn typed(from: impl Read) -> io::Result<SecretString> {
    let mut line = Zeroizing::new(Vec::new());
    for byte in BufReader::new(from).bytes() {
        match byte? {
            b'\n' | b'\r' | 0x04 => break,
            0x03 => return Err(io::Error::new(io::ErrorKind::Interrupted, "interrupted, and nothing was kept")),
            // A character may be of several bytes.
            0x08 | 0x7f => while line.pop().is_some_and(|byte| byte & 0xc0 == 0x80) {},
            0x15 => line.clear(),
            _ if line.len() == LONGEST => return Err(io::Error::other("that is too long for a password")),
            byte => line.push(byte),
        }
    }
    let text = std::str::from_utf8(&line).map_err(|_| io::Error::other("what was typed is no text"))?;
    Ok(SecretString::from(text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use secrecy::ExposeSecret;

    #[test]
    fn keys_that_take_back_do_so() {
        for (keys, password) in [
            ("pw\nmore", "pw"),
            ("pw\r", "pw"),
            ("pä\u{7f}w\n", "pw"),
            ("wrong\u{15}pw\n", "pw"),
            ("\u{8}pw\u{4}", "pw"),
            ("", ""),
        ] {
            assert_eq!(typed(keys.as_bytes()).unwrap().expose_secret(), password, "{keys:?}");
        }
        assert_eq!(typed(&b"pw\x03"[..]).unwrap_err().kind(), io::ErrorKind::Interrupted);
    }
}
