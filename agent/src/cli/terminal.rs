//! Where a command prints: a terminal, with its width and colours, or a pipe, with neither.

use std::io::{self, IsTerminal, Write};

use super::render::{Style, Tone};

/// Moves to the top left and clears what is below.
const REDRAW: &str = "\x1b[H\x1b[J";

/// Where a command's data goes.
pub struct Output {
    sink: Box<dyn Write>,
    terminal: bool,
}

impl Output {
    /// This process's stdout.
    pub fn stdout() -> Self {
        let stdout = io::stdout();
        Self { terminal: stdout.is_terminal(), sink: Box::new(io::BufWriter::new(stdout)) }
    }

    /// Anything else, treated as a pipe.
    #[cfg(test)]
    pub fn to(sink: impl Write + 'static) -> Self {
        Self { sink: Box::new(sink), terminal: false }
    }

    /// Whether a person is looking.
    pub fn is_terminal(&self) -> bool {
        self.terminal
    }

    /// How to lay text out here, now: a terminal may be resized.
    pub fn style(&self) -> Style {
        if !self.terminal {
            return Style { width: usize::MAX, colour: false };
        }
        let set = |name| std::env::var_os(name).filter(|value| !value.is_empty());
        let dumb = set("TERM").is_none_or(|term| term == "dumb");
        let size = rustix::termios::tcgetwinsize(io::stdout()).ok();
        let columns = size.map(|size| usize::from(size.ws_col)).filter(|columns| *columns > 0);
        // https://no-color.org
        Style { width: columns.unwrap_or(80), colour: !dumb && set("NO_COLOR").is_none() }
    }

    /// Prints `text` as it is, at once.
    pub fn print(&mut self, text: &str) -> io::Result<()> {
        self.sink.write_all(text.as_bytes())?;
        self.flush()
    }

    /// Shows what [`Output::print_foreign`] has taken so far.
    pub fn flush(&mut self) -> io::Result<()> {
        self.sink.flush()
    }

    /// Shows `text` in the place of what was shown before, as much of it as the terminal has lines
    /// for.
    pub fn redraw(&mut self, text: &str) -> io::Result<()> {
        let rows = rustix::termios::tcgetwinsize(io::stdout()).map_or(0, |size| size.ws_row);
        // One line less: the newline of the last one would scroll.
        let lines = usize::from(rows).checked_sub(1).filter(|lines| *lines > 0);
        let shown: String = text.split_inclusive('\n').take(lines.unwrap_or(usize::MAX)).collect();
        self.print(&format!("{REDRAW}{shown}"))
    }

    /// A line that the application printed, shown at the next flush. A pipe gets it as it is; on a
    /// terminal it may have colours, and nothing else that would act on the terminal. Where it has
    /// none of its own, `style` gives it those of `tone`.
    pub fn print_foreign(
        &mut self,
        prefix: &str,
        line: &str,
        style: Style,
        tone: Option<Tone>,
    ) -> io::Result<()> {
        if !self.terminal {
            return writeln!(self.sink, "{prefix}{line}");
        }
        writeln!(self.sink, "{prefix}{}", for_terminal(line, style, tone))
    }
}

fn for_terminal(line: &str, style: Style, tone: Option<Tone>) -> String {
    let tone = tone.filter(|_| !line.contains("\x1b["));
    style.paint(tone, &only_colours(line))
}

/// Escapes control characters but for tabs and complete colour sequences (`ESC [ digits ; m`).
fn only_colours(line: &str) -> String {
    let mut safe = String::with_capacity(line.len());
    let mut coloured = false;
    let mut rest = line;
    while let Some(c) = rest.chars().next() {
        if let Some(sequence) = colour_sequence(rest) {
            safe.push_str(sequence);
            coloured = true;
            rest = &rest[sequence.len()..];
            continue;
        }
        if c.is_control() && c != '\t' {
            safe.extend(c.escape_default());
        } else {
            safe.push(c);
        }
        rest = &rest[c.len_utf8()..];
    }
    if coloured {
        safe.push_str("\x1b[0m");
    }
    safe
}

fn colour_sequence(text: &str) -> Option<&str> {
    let parameters = text.strip_prefix("\x1b[")?;
    let len = parameters.find(|c: char| !c.is_ascii_digit() && c != ';')?;
    parameters[len..].starts_with('m').then(|| &text[..len + 3])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_application_may_colour_its_lines_and_no_more() {
        let check = |line: &str, safe: &str| assert_eq!(only_colours(line), safe);
        check("plain\ttab", "plain\ttab");
        check("\x1b[31;1mred", "\x1b[31;1mred\x1b[0m");
        check("\x1b[2Jgone", "\\u{1b}[2Jgone");
        check("\x1b]0;title\x07", "\\u{1b}]0;title\\u{7}");
        check("cut \x1b[3", "cut \\u{1b}[3");
        check("back\r\x08é", "back\\r\\u{8}é");
    }

    #[test]
    fn a_line_without_colours_of_its_own_has_those_of_its_level() {
        let check = |line: &str, colour: bool, tone: Option<Tone>, shown: &str| {
            let style = Style { width: 80, colour };
            assert_eq!(for_terminal(line, style, tone), shown);
        };
        check("failed", true, Some(Tone::Bad), "\x1b[31mfailed\x1b[0m");
        check("detail\x07", true, Some(Tone::Faint), "\x1b[2mdetail\\u{7}\x1b[0m");
        check("failed", false, Some(Tone::Bad), "failed");
        check("fine", true, None, "fine");
        check("\x1b[36mown", true, Some(Tone::Bad), "\x1b[36mown\x1b[0m");
    }
}
