//! The standard output: lines, tables, colour where a person looks.

use std::io::{self, IsTerminal, Write};

use serde::Serialize;

/// How a piece of text stands out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Tone {
    #[default]
    Plain,
    Quiet,
    Good,
    Busy,
    Warning,
    Bad,
}

impl Tone {
    fn code(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::Quiet => "2",
            Self::Good => "32",
            Self::Busy => "34",
            Self::Warning => "33",
            Self::Bad => "31",
        }
    }
}

/// Where results go.
pub(super) struct Out {
    sink: Box<dyn Write>,
    color: bool,
    /// Lines may be written over: a person is watching.
    live: bool,
    /// The last line is unfinished.
    open: bool,
}

impl Out {
    /// The program's standard output.
    pub(super) fn stdout() -> Self {
        let stdout = io::stdout();
        let live = stdout.is_terminal();
        let color = live && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Self { sink: Box::new(stdout), color, live, open: false }
    }

    #[cfg(test)]
    pub(super) fn into(sink: Box<dyn Write>, color: bool) -> Self {
        Self { sink, color, live: color, open: false }
    }

    fn paint(&self, tone: Tone, text: &str) -> String {
        if self.color && tone != Tone::Plain {
            return format!("\x1b[{}m{text}\x1b[0m", tone.code());
        }
        text.to_owned()
    }

    /// One line.
    pub(super) fn line(&mut self, tone: Tone, text: &str) -> io::Result<()> {
        self.clear()?;
        let text = self.paint(tone, text);
        writeln!(self.sink, "{text}")
    }

    /// Text as it is, such as a file.
    pub(super) fn text(&mut self, text: &str) -> io::Result<()> {
        self.clear()?;
        self.sink.write_all(text.as_bytes())?;
        self.sink.flush()
    }

    /// A line that the next one replaces; nobody reads it in a log file.
    pub(super) fn passing(&mut self, text: &str) -> io::Result<()> {
        if !self.live {
            return Ok(());
        }
        self.clear()?;
        self.open = true;
        let text = self.paint(Tone::Busy, text);
        write!(self.sink, "{text}")?;
        self.sink.flush()
    }

    fn clear(&mut self) -> io::Result<()> {
        if std::mem::take(&mut self.open) {
            write!(self.sink, "\r\x1b[K")?;
        }
        Ok(())
    }

    /// A document for programs.
    pub(super) fn json(&mut self, value: &impl Serialize) -> io::Result<()> {
        let text = serde_json::to_string_pretty(value).map_err(io::Error::other)?;
        self.line(Tone::Plain, &text)
    }

    /// A table, its columns as wide as their widest cell.
    pub(super) fn table(&mut self, table: &Table) -> io::Result<()> {
        let widths = table.widths();
        let head = table.head.iter().map(|name| Cell(Tone::Quiet, (*name).to_owned())).collect::<Vec<_>>();
        self.row(&head, &widths)?;
        for row in &table.rows {
            self.row(&row.cells, &widths)?;
            for (tone, line) in &row.below {
                self.line(*tone, &format!("  {line}"))?;
            }
        }
        Ok(())
    }

    fn row(&mut self, cells: &[Cell], widths: &[usize]) -> io::Result<()> {
        let mut line = String::new();
        for (index, (Cell(tone, text), width)) in cells.iter().zip(widths).enumerate() {
            line.push_str(&self.paint(*tone, text));
            // The last column needs no spaces after it.
            if index + 1 < cells.len() {
                let gap = width.saturating_sub(text.chars().count()) + 2;
                line.push_str(&" ".repeat(gap));
            }
        }
        self.line(Tone::Plain, &line)
    }
}

/// A cell of a table.
pub(super) struct Cell(pub(super) Tone, pub(super) String);

impl<T: Into<String>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self(Tone::Plain, text.into())
    }
}

/// A row, and what is said about it on lines of their own.
pub(super) struct Row {
    pub(super) cells: Vec<Cell>,
    pub(super) below: Vec<(Tone, String)>,
}

/// A table.
pub(super) struct Table {
    pub(super) head: &'static [&'static str],
    pub(super) rows: Vec<Row>,
}

impl Table {
    fn widths(&self) -> Vec<usize> {
        let column = |index: usize, name: &str| {
            let cells = self.rows.iter().filter_map(|row| row.cells.get(index));
            cells.map(|Cell(_, text)| text.chars().count()).max().unwrap_or(0).max(name.chars().count())
        };
        self.head.iter().enumerate().map(|(index, name)| column(index, name)).collect()
    }
}

/// Text from elsewhere must not steer the terminal.
pub(super) fn safe(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}
