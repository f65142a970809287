//! Lists of viewers and points, as files. Every line is understood before anything is sent.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use thiserror::Error;

/// The most lines of a list, and the longest one.
pub const LINES_MAX: usize = 500_000;
const LINE_BYTES_MAX: usize = 4_096;
/// The largest file that is read.
pub const FILE_BYTES_MAX: u64 = 64 << 20;
/// How many bad lines are named.
const NAMED_MAX: usize = 50;

/// A viewer, the points they are given, and where that stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    /// From 1; the header counts.
    pub number: usize,
    pub viewer: String,
    pub points: i64,
}

/// A line that cannot be carried out.
#[derive(Clone, Debug, PartialEq, Error)]
#[error("line {number}: {reason}")]
pub struct BadLine {
    pub number: usize,
    pub reason: String,
}

/// What a list has in it, or everything that is wrong with it.
pub type Read = Result<Vec<Line>, Wrong>;

/// The first bad lines, and how many there are.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Wrong {
    pub first: Vec<BadLine>,
    pub total: usize,
}

impl Wrong {
    pub fn add(&mut self, number: usize, reason: impl Into<String>) {
        self.total += 1;
        if self.first.len() < NAMED_MAX {
            self.first.push(BadLine { number, reason: reason.into() });
        }
    }
}

impl std::fmt::Display for Wrong {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for line in &self.first {
            writeln!(formatter, "{line}")?;
        }
        let more = self.total - self.first.len();
        if more > 0 {
            writeln!(formatter, "and {more} more bad lines")?;
        }
        Ok(())
    }
}

/// Reads `viewer,points`, or `viewer` alone where `points` says what everybody is given.
pub fn read(text: &str, points: Option<i64>) -> Read {
    let mut list = List::default();
    for (number, fields) in rows(text, &mut list.wrong) {
        let viewer = fields.first().map_or("", String::as_str);
        if number == 1 && is_heading(viewer) {
            continue;
        }
        let own = fields.get(1).map(|field| read_points(field));
        match (own, points) {
            (None, Some(points)) => list.add(number, viewer, points),
            (Some(Ok(own)), None) => list.add(number, viewer, own),
            (Some(Err(reason)), _) => list.wrong.add(number, reason),
            (None, None) => list.wrong.add(number, "it names no points, and neither does --points"),
            (Some(_), Some(_)) => {
                list.wrong.add(number, "it names points, and so does --points: leave one out");
            }
        }
    }
    list.end()
}

/// The lines so far, each viewer once.
#[derive(Default)]
pub(super) struct List {
    lines: Vec<Line>,
    seen: HashMap<String, usize>,
    pub(super) wrong: Wrong,
}

impl List {
    pub(super) fn add(&mut self, number: usize, viewer: &str, points: i64) {
        if let Err(error) = journal::command::check_id(viewer) {
            return self.wrong.add(number, error.to_string());
        }
        if points < 1 {
            return self.wrong.add(number, format!("points are 1 or more, and {points} are not"));
        }
        if self.lines.len() == LINES_MAX {
            return self.wrong.add(number, format!("a list has {LINES_MAX} lines at most"));
        }
        match self.seen.entry(viewer.to_owned()) {
            Entry::Occupied(first) => {
                let reason = format!("viewer {viewer} stands on line {} already", first.get());
                self.wrong.add(number, reason);
            }
            Entry::Vacant(place) => {
                place.insert(number);
                self.lines.push(Line { number, viewer: viewer.to_owned(), points });
            }
        }
    }

    pub(super) fn end(mut self) -> Read {
        if self.lines.is_empty() && self.wrong.total == 0 {
            self.wrong.add(1, "there is no viewer in it");
        }
        if self.wrong.total == 0 { Ok(self.lines) } else { Err(self.wrong) }
    }
}

/// The rows of a comma-, semicolon- or tab-separated text with their line numbers, without empty ones.
pub(crate) fn rows(text: &str, wrong: &mut Wrong) -> Vec<(usize, Vec<String>)> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let first = text.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
    let separator = [',', ';', '\t'].into_iter().max_by_key(|c| first.matches(*c).count());
    let separator = separator.filter(|c| first.contains(*c)).unwrap_or(',');
    let mut rows = Vec::new();
    for (n, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        if line.len() > LINE_BYTES_MAX {
            wrong.add(n + 1, format!("it is longer than {LINE_BYTES_MAX} bytes"));
            continue;
        }
        match fields(line, separator) {
            Some(fields) => rows.push((n + 1, fields)),
            None => wrong.add(n + 1, "a quotation mark is not closed"),
        }
    }
    rows
}

/// The fields of a row, without quotes and the blanks around; `None` where a quote stays open.
fn fields(line: &str, separator: char) -> Option<Vec<String>> {
    let mut fields = vec![String::new()];
    let mut quoted = false;
    let mut characters = line.chars().peekable();
    while let Some(c) = characters.next() {
        let field = fields.last_mut()?;
        match c {
            '"' if quoted && characters.peek() == Some(&'"') => {
                characters.next();
                field.push('"');
            }
            '"' if quoted => quoted = false,
            '"' if field.trim().is_empty() => {
                field.clear();
                quoted = true;
            }
            c if c == separator && !quoted => fields.push(String::new()),
            c => field.push(c),
        }
    }
    (!quoted).then(|| fields.iter().map(|field| field.trim().to_owned()).collect())
}

/// Whole points: `4210`, and `4210.0` as some bots write it. Never rounded.
pub(super) fn read_points(field: &str) -> Result<i64, String> {
    let whole = match field.split_once('.') {
        Some((whole, zeros)) if zeros.bytes().all(|byte| byte == b'0') => whole,
        _ => field,
    };
    whole.parse().map_err(|_| format!("{field:?} is no whole number of points"))
}

fn is_heading(field: &str) -> bool {
    let field = field.to_lowercase().replace([' ', '-'], "_");
    ["viewer", "viewer_id", "user_id", "userid", "id", "twitch_id", "twitch_user_id"]
        .contains(&field.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(number: usize, viewer: &str, points: i64) -> Line {
        Line { number, viewer: viewer.to_owned(), points }
    }

    #[test]
    fn a_list_is_read_with_or_without_a_heading() {
        let wanted = Ok(vec![line(2, "5001", 10), line(4, "5002", 20)]);
        assert_eq!(
            read("\u{feff}Viewer ID;points\r\n5001;10\r\n\r\n \"5002\" ;20.0\r\n", None),
            wanted
        );
        assert_eq!(read("5001\n5002", Some(7)), Ok(vec![line(1, "5001", 7), line(2, "5002", 7)]));
    }

    #[test]
    fn every_bad_line_is_named() {
        let wrong = read("5001,10\n5.1,1\n5001,5\n5002\n5003,1.5\n5004,0\n5005,\"1\n", None);
        let wrong = wrong.expect_err("bad lines");
        let words = wrong.to_string();
        for part in [
            "line 2: an id is",
            "line 3: viewer 5001 stands on line 1 already",
            "line 4: it names no points",
            "line 5: \"1.5\" is no whole number of points",
            "line 6: points are 1 or more",
            "line 7: a quotation mark is not closed",
        ] {
            assert!(words.contains(part), "{part} is not in\n{words}");
        }
        assert_eq!(wrong.total, 6);
        assert_eq!(read("", None).expect_err("empty").total, 1);
        assert!(read("5001,5", Some(5)).is_err(), "two amounts for one viewer");
    }

    #[test]
    fn quotes_are_taken_off_and_separators_in_them_kept() {
        assert_eq!(
            fields("\"a,b\",c\"d, \"\"\"x\"\"\"", ','),
            Some(vec!["a,b".to_owned(), "c\"d".to_owned(), "\"x\"".to_owned(),])
        );
    }
}
